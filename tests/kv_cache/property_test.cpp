// Random interleavings of append, attend (packed and with tree masks, too), trim, evict, reset, fork, reorder, save and
// load on a paged and on a contiguous cache: both give the bits of a fresh cache that replays only what happened to the
// sequence, and the oracle agrees.
#include "cases.hpp"

namespace octavo::test {
namespace {

constexpr std::int64_t kBatch = 4, kHeads = 2, kGroup = 2, kDim = 24, kValueDim = 16, kCapacity = 260, kPages = 14;

// What happened to a sequence since it was empty: appends of rows of the pool, trims and evictions.
struct Event {
  std::int64_t first = 0, rows = 0;  // of the pool of rows
  std::int64_t trimmed_to = -1;
  std::int64_t kept_first = -1, kept_last = -1;
};
struct Model {
  std::vector<Event> events;
  std::int64_t length = 0;
};

class Interleaving {
 public:
  Interleaving(DType format, std::uint32_t seed)
      : random_(seed),
        k_(1, 2000, kHeads, kDim, seed + 1, DType::f16, 3),
        v_(1, 2000, kHeads, kValueDim, seed + 2, DType::f16),
        q_(1, 200, kHeads * kGroup, kDim, seed + 3, DType::f16),
        options_{.batch = kBatch,
                 .kv_heads = kHeads,
                 .head_dim = kDim,
                 .value_head_dim = kValueDim,
                 .capacity = kCapacity,
                 .format = format},
        contiguous_(make_cache(options_)),
        paged_(make_cache(paged_options())),
        models_(static_cast<std::size_t>(kBatch)) {}

  void run(int steps) {
    for (int step = 0; step < steps && !::testing::Test::HasFatalFailure(); ++step) {
      SCOPED_TRACE(::testing::Message() << "step " << step);
      const std::int64_t kind = below(27);
      if (kind == 0)
        reset();
      else if (kind < 4)
        trim();
      else if (kind < 6)
        fork();
      else if (kind < 8)
        reorder();
      else if (kind < 17)
        append();
      else if (kind < 19)
        evict();
      else if (kind < 20)
        save_and_load();
      else if (kind < 22)
        attend_packed();
      else
        attend_one(step % 16 == 0);
      for (std::int64_t b = 0; b < kBatch; ++b) {
        ASSERT_EQ(contiguous_.length(b), model(b).length);
        ASSERT_EQ(paged_.length(b), model(b).length);
      }
    }
    // Pages are neither lost nor given out twice.
    ASSERT_TRUE(paged_.reset().ok());
    ASSERT_EQ(paged_.free_pages(), kPages);
  }
  int beyond_capacity() const { return beyond_capacity_; }
  int without_pages() const { return without_pages_; }
  int checked() const { return checked_; }
  int evictions() const { return evictions_; }
  int evictions_without_pages() const { return evictions_without_pages_; }

 private:
  KVCacheOptions paged_options() const {
    KVCacheOptions options = options_;
    options.page_size = 32;
    options.pages = kPages;  // fewer than all sequences can take
    return options;
  }
  Model& model(std::int64_t b) { return models_[static_cast<std::size_t>(b)]; }
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(random_() % static_cast<std::uint32_t>(n)); }

  void set_length(Model& m, std::int64_t length) {
    m.length = length;
    m.events.push_back({.trimmed_to = length});
    if (length == 0) m.events.clear();
  }

  void reset() {
    const std::int64_t b = below(kBatch), sequences[] = {b};
    ASSERT_TRUE(contiguous_.reset(sequences).ok());
    ASSERT_TRUE(paged_.reset(sequences).ok());
    set_length(model(b), 0);
  }

  void trim() {
    const std::int64_t b = below(kBatch), by = std::min(model(b).length, below(4) == 0 ? below(100) : below(5));
    const std::int64_t length = model(b).length - by;
    ASSERT_TRUE(contiguous_.trim(b, length).ok());
    ASSERT_TRUE(paged_.trim(b, length).ok());
    set_length(model(b), length);
  }

  void evict() {
    const std::int64_t b = below(kBatch), n = model(b).length;
    // Half of them by whole pages or strips.
    const std::int64_t unit = below(2) == 0 ? 1 : below(2) == 0 ? 16 : 32;
    const std::int64_t first = std::min(n, below(40) / unit * unit);
    const std::int64_t removed = std::min(n - first, (1 + below(120)) / unit * unit), last = n - first - removed;
    const Status status = paged_.evict(b, first, last);
    if (!status.ok()) {
      ASSERT_EQ(to_string(status.code()), "resource_exhausted") << status.message();
      ++evictions_without_pages_;
      return;
    }
    ASSERT_TRUE(contiguous_.evict(b, first, last).ok());
    if (removed == 0) return;
    ++evictions_;
    model(b).length = first + last;
    model(b).events.push_back({.kept_first = first, .kept_last = last});
    if (first + last == 0) model(b).events.clear();
  }

  void save_and_load() {
    const std::int64_t free_pages = paged_.free_pages();
    for (KVCache* cache : {&contiguous_, &paged_}) {
      std::vector<std::byte> bytes(cache->saved_size());
      ASSERT_TRUE(cache->save(bytes).ok());
      Result<KVCache> loaded = KVCache::load(bytes);
      ASSERT_TRUE(loaded.ok()) << loaded.status().message();
      *cache = *std::move(loaded);
    }
    ASSERT_EQ(paged_.free_pages(), free_pages);
  }

  void fork() {
    const std::int64_t from = below(kBatch), to = below(kBatch);
    ASSERT_TRUE(contiguous_.fork(from, to).ok());
    ASSERT_TRUE(paged_.fork(from, to).ok());
    model(to) = Model(model(from));
  }

  void reorder() {
    std::vector<std::int64_t> sources;
    std::vector<Model> models;
    for (std::int64_t b = 0; b < kBatch; ++b) {
      sources.push_back(below(kBatch));
      models.push_back(model(sources.back()));
    }
    ASSERT_TRUE(contiguous_.reorder(sources).ok());
    ASSERT_TRUE(paged_.reorder(sources).ok());
    models_ = models;
  }

  // To one sequence, or ragged to two; beyond the capacity or the pages it must be refused and change nothing.
  void append() {
    const std::int64_t a = below(kBatch), b = (a + 1 + below(kBatch - 1)) % kBatch;
    const std::int64_t rows = below(3) == 0 ? 1 + below(110) : 1 + below(4), first = below(2000 - rows);
    const std::int64_t sequences[] = {a, b}, counts[] = {rows, below(rows + 1)};
    const std::size_t n = below(2) == 0 ? 1 : 2;
    // Both sequences get the same rows.
    TensorView k = k_.part(first, rows), v = v_.part(first, rows);
    k.shape[0] = v.shape[0] = static_cast<std::int64_t>(n);
    k.strides[0] = v.strides[0] = 0;
    const auto append_to = [&](KVCache& cache) { return cache.append(k, v, Layout::nhd, {sequences, n}, {counts, n}); };
    bool fits = true;
    for (std::size_t i = 0; i < n; ++i) fits = fits && model(sequences[i]).length + counts[i] <= kCapacity;
    const Status status = append_to(paged_);
    if (!fits) {
      ASSERT_EQ(to_string(status.code()), "invalid_argument") << status.message();
    } else if (!status.ok()) {
      ASSERT_EQ(to_string(status.code()), "resource_exhausted") << status.message();
    }
    if (!status.ok()) {
      ++(fits ? without_pages_ : beyond_capacity_);
      if (!fits) {
        ASSERT_FALSE(append_to(contiguous_).ok());
      }
      return;
    }
    const Status other = append_to(contiguous_);
    ASSERT_TRUE(other.ok()) << other.message();
    for (std::size_t i = 0; i < n; ++i) {
      if (counts[i] == 0) continue;
      model(sequences[i]).events.push_back({.first = first, .rows = counts[i]});
      model(sequences[i]).length += counts[i];
    }
  }

  // A fresh cache that replays what happened to a sequence.
  KVCache replayed(std::int64_t b) {
    KVCacheOptions options = options_;
    options.batch = 1;
    KVCache fresh = make_cache(options);
    for (const Event& event : model(b).events) {
      const Status status = event.trimmed_to >= 0 ? fresh.trim(0, event.trimmed_to)
                            : event.kept_first >= 0
                                ? fresh.evict(0, event.kept_first, event.kept_last)
                                : fresh.append(k_.part(event.first, event.rows), v_.part(event.first, event.rows));
      EXPECT_TRUE(status.ok()) << status.message();
    }
    return fresh;
  }

  void attend_one(bool with_oracle) {
    const std::int64_t b = below(kBatch), rows = 1 + below(5), sequences[] = {b};
    const TensorView q = q_.part(below(190), rows);
    const Output expected = attend(replayed(b), q);
    ASSERT_EQ(attend(contiguous_, q, {}, {}, sequences), expected);
    ASSERT_EQ(attend(paged_, q, {}, {}, sequences), expected);
    ++checked_;
    if (!with_oracle) return;
    const Output oracle = attend(paged_, q, {}, on("reference"), sequences);
    // As in attend_test.
    ASSERT_LE(relative_l2(expected.o, oracle.o), options_.format == DType::s4 ? 2e-3 : 2e-5);
  }

  // Two sequences with different numbers of rows in one call, each row with a tree mask and a window.
  void attend_packed() {
    const std::int64_t a = below(kBatch), sequences[] = {a, (a + 1 + below(kBatch - 1)) % kBatch};
    const std::int64_t rows[] = {below(9), 1 + below(40)}, most = std::max(rows[0], rows[1]);
    const std::int64_t begins[] = {0, rows[0], rows[0] + rows[1]}, heads = kHeads * kGroup;
    std::vector<std::uint8_t> tree(static_cast<std::size_t>(2 * most * most));
    for (std::uint8_t& seen : tree) seen = below(3) != 0 ? 1 : 0;
    CacheAttentionParams params;
    params.window_left = below(2) == 0 ? -1 : below(150);
    CacheQuery query;
    TensorView q = q_.part(below(140), begins[2]);
    query.q = {q.data, q.dtype, {begins[2], heads, kDim}};
    query.cu_seqlens_q = {begins, DType::s64, {3}};
    query.tree_mask = {tree.data(), DType::boolean, {2, most, most}};
    query.sequences = sequences;
    const Output packed = attend_query(contiguous_, query, params);
    ASSERT_EQ(attend_query(paged_, query, params), packed);
    for (std::int64_t i = 0; i < 2; ++i) {
      if (rows[i] == 0) continue;
      CacheQuery alone;
      alone.q = q;
      alone.q.data = static_cast<std::byte*>(q.data) + begins[i] * heads * kDim * 2;
      alone.q.shape[1] = rows[i];
      alone.tree_mask = {tree.data() + i * most * most, DType::boolean, {rows[i], rows[i]}, {most, 1}};
      const Output expected = attend_query(replayed(sequences[i]), alone, params);
      ASSERT_EQ(std::memcmp(packed.o.data() + begins[i] * heads * kValueDim, expected.o.data(), expected.o.size() * 4),
                0);
      ++checked_;
    }
  }

  std::mt19937 random_;
  Rows k_, v_, q_;
  KVCacheOptions options_;
  KVCache contiguous_, paged_;
  std::vector<Model> models_;
  int beyond_capacity_ = 0, without_pages_ = 0, checked_ = 0, evictions_ = 0, evictions_without_pages_ = 0;
};

TEST(KVCacheProperty, InterleavingsGiveTheBitsOfAReplay) {
  int evictions_without_pages = 0;
  for (const DType format : {DType::s8, DType::s4, DType::e4m3, DType::f16}) {
    for (std::uint32_t seed = 1; seed <= 2; ++seed) {
      SCOPED_TRACE(::testing::Message() << to_string(format) << " seed " << seed);
      Interleaving interleaving(format, seed);
      ASSERT_NO_FATAL_FAILURE(interleaving.run(2500));
      EXPECT_GT(interleaving.beyond_capacity(), 10);
      EXPECT_GT(interleaving.without_pages(), 10);
      EXPECT_GT(interleaving.checked(), 400);
      EXPECT_GT(interleaving.evictions(), 50);
      evictions_without_pages += interleaving.evictions_without_pages();
    }
  }
  EXPECT_GT(evictions_without_pages, 0);
}

}  // namespace
}  // namespace octavo::test
