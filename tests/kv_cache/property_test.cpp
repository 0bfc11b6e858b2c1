// Random interleavings of append, attend, trim, reset, fork and reorder on a paged and on a contiguous cache: both give
// the bits of a fresh cache that replays only what happened to the sequence, and the oracle agrees.
#include "cases.hpp"

namespace octavo::test {
namespace {

constexpr std::int64_t kBatch = 4, kHeads = 2, kGroup = 2, kDim = 24, kValueDim = 16, kCapacity = 260, kPages = 26;

// What happened to a sequence since it was empty: appends of rows of the pool, and trims.
struct Event {
  std::int64_t first = 0, rows = 0;  // of the pool of rows
  std::int64_t trimmed_to = -1;
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
      switch (random_() % 12) {
        case 0:
          reset();
          break;
        case 1:
        case 2:
          trim();
          break;
        case 3:
          fork();
          break;
        case 4:
          reorder();
          break;
        case 5:
        case 6:
        case 7:
        case 8:
          append();
          break;
        default:
          attend_one(step % 16 == 0);
          break;
      }
      for (std::int64_t b = 0; b < kBatch; ++b) {
        ASSERT_EQ(contiguous_.length(b), model(b).length);
        ASSERT_EQ(paged_.length(b), model(b).length);
      }
    }
    // Pages are neither lost nor given out twice.
    ASSERT_TRUE(paged_.reset().ok());
    ASSERT_EQ(paged_.free_pages(), kPages);
  }
  int refused() const { return refused_; }
  int checked() const { return checked_; }

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
    m.events.push_back({0, 0, length});
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
      ++refused_;
      if (!fits) {
        ASSERT_FALSE(append_to(contiguous_).ok());
      }
      return;
    }
    const Status other = append_to(contiguous_);
    ASSERT_TRUE(other.ok()) << other.message();
    for (std::size_t i = 0; i < n; ++i) {
      if (counts[i] == 0) continue;
      model(sequences[i]).events.push_back({first, counts[i], -1});
      model(sequences[i]).length += counts[i];
    }
  }

  void attend_one(bool with_oracle) {
    const std::int64_t b = below(kBatch), rows = 1 + below(5), sequences[] = {b};
    KVCacheOptions options = options_;
    options.batch = 1;
    KVCache fresh = make_cache(options);
    for (const Event& event : model(b).events) {
      const Status status = event.trimmed_to >= 0
                                ? fresh.trim(0, event.trimmed_to)
                                : fresh.append(k_.part(event.first, event.rows), v_.part(event.first, event.rows));
      ASSERT_TRUE(status.ok()) << status.message();
    }
    const TensorView q = q_.part(below(190), rows);
    const Output expected = attend(fresh, q);
    ASSERT_EQ(attend(contiguous_, q, {}, {}, sequences), expected);
    ASSERT_EQ(attend(paged_, q, {}, {}, sequences), expected);
    ++checked_;
    if (!with_oracle) return;
    const Output oracle = attend(paged_, q, {}, on("reference"), sequences);
    ASSERT_LE(relative_l2(expected.o, oracle.o), 2e-5);
  }

  std::mt19937 random_;
  Rows k_, v_, q_;
  KVCacheOptions options_;
  KVCache contiguous_, paged_;
  std::vector<Model> models_;
  int refused_ = 0, checked_ = 0;
};

TEST(KVCacheProperty, InterleavingsGiveTheBitsOfAReplay) {
  for (const DType format : {DType::s8, DType::f16}) {
    for (std::uint32_t seed = 1; seed <= 2; ++seed) {
      SCOPED_TRACE(::testing::Message() << to_string(format) << " seed " << seed);
      Interleaving interleaving(format, seed);
      ASSERT_NO_FATAL_FAILURE(interleaving.run(1500));
      EXPECT_GE(interleaving.refused(), 5);
      EXPECT_GT(interleaving.checked(), 200);
    }
  }
}

}  // namespace
}  // namespace octavo::test
