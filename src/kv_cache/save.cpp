// The contents of a cache as bytes (docs/kv_cache.md). All numbers are 64-bit, all blocks whole words of 64 bits; what
// no token defines is written as zero, so that the bytes follow from the contents.
#include <algorithm>
#include <cstring>

#include "core/text.hpp"
#include "kv_cache/cache.hpp"
#include "spec/cache_layout.hpp"

namespace octavo::kv_cache {
namespace {

constexpr std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
constexpr std::size_t whole_words(std::size_t bytes) { return (bytes + 7) / 8 * 8; }

class Writer {
 public:
  explicit Writer(std::byte* to) : to_(to) {}
  std::size_t size() const { return at_; }
  void number(std::int64_t x) { block(&x, sizeof(x)); }
  std::byte* block(const void* from, std::size_t bytes) {
    std::byte* const place = to_ == nullptr ? nullptr : to_ + at_;
    if (place != nullptr) {
      std::memcpy(place, from, bytes);
      std::memset(place + bytes, 0, whole_words(bytes) - bytes);
    }
    at_ += whole_words(bytes);
    return place;
  }

 private:
  std::byte* to_;
  std::size_t at_ = 0;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> from) : from_(from) {}
  std::size_t left() const { return from_.size(); }
  bool number(std::int64_t& x) { return block(&x, sizeof(x)); }
  bool block(void* to, std::size_t bytes) {
    if (from_.size() < whole_words(bytes)) return false;
    std::memcpy(to, from_.data(), bytes);
    from_ = from_.subspan(whole_words(bytes));
    return true;
  }

 private:
  std::span<const std::byte> from_;
};

// Zeroes elements of the last strip of K or V whose tokens do not exist.
void clear_tail(const CacheView& view, bool is_k, std::int64_t tokens, std::byte* block) {
  if (tokens % kCacheStrip == 0) return;
  const std::int64_t columns = is_k ? view.k_columns : view.v_columns, strip = tokens / kCacheStrip * kCacheStrip;
  constexpr std::byte kZero[4] = {};
  for (std::int64_t token = tokens % kCacheStrip; token < kCacheStrip; ++token)
    for (std::int64_t d = 0; d < columns; ++d)
      copy_element(view.format, kZero, 0, block,
                   strip * columns + (is_k ? spec::cache_k_index(view.format, token, d)
                                           : spec::cache_v_index(view.format, columns, token, d)));
}

}  // namespace

// blocks.strips(data, bytes, is_k), blocks.scales(data, count) for each KV head of a page that holds `tokens` tokens.
template <class Blocks>
void Cache::for_each_page_block(std::int32_t page, std::int64_t tokens, const Blocks& blocks) const {
  const CacheView view = this->view();
  const std::int64_t strips = (tokens + kCacheStrip - 1) / kCacheStrip, bits = spec::cache_bits(view.format);
  for (std::int64_t h = 0; h < view.kv_heads; ++h) {
    const std::int64_t row = (page * view.kv_heads + h) * page_size_;
    for (const bool is_k : {true, false}) {
      const std::int64_t row_bytes = (is_k ? view.k_columns : view.v_columns) * bits / 8;
      blocks.strips((is_k ? view.k : view.v) + row * row_bytes, index(strips * kCacheStrip * row_bytes), is_k);
      if (view.has_scales()) blocks.scales((is_k ? view.k_scale : view.v_scale) + row, index(tokens));
    }
  }
}

// blocks(data, bytes) for K's means and for each kept row of a slot that a token defines.
template <class Blocks>
void Cache::for_each_slot_block(std::int64_t slot, const Blocks& blocks) const {
  const CacheView view = this->view();
  const State& state = states_[index(slot)];
  if (!view.rotated() || state.length == 0) return;
  for (std::int64_t h = 0; h < view.kv_heads; ++h) {
    blocks(view.k_mean + view.head(slot, h) * view.mean_columns, index(view.mean_columns) * sizeof(float));
    if (view.kept_k == nullptr) continue;
    const auto row = [&](std::int64_t within) {
      const std::int64_t at = view.kept_slot(slot, h, within);
      blocks(view.kept_k + at * view.k_columns, index(view.k_columns) * 2);
      blocks(view.kept_v + at * view.v_columns, index(view.v_columns) * 2);
      blocks(view.kept_k_unit + at, sizeof(float));
      blocks(view.kept_v_unit + at, sizeof(float));
    };
    row(0);
    for (std::int64_t t = state.kept_begin; t < state.length; ++t) row(1 + t % kKeptRing);
  }
}

std::size_t Cache::save(std::byte* to) const {
  Writer writer(to);
  // Pages in the order in which sequences name them first, and the tokens that some sequence has there.
  std::vector<std::int64_t> numbers(index(page_count_), -1), tokens;
  std::vector<std::int32_t> pages;
  for (const std::int64_t slot : slots_) {
    const State& state = states_[index(slot)];
    writer.number(state.length);
    writer.number(state.kept_begin);
    for (std::int64_t p = 0; p < pages_of(state.length); ++p) {
      const std::int32_t page = table_[index(slot * pages_per_sequence_ + p)];
      std::int64_t& number = numbers[index(page)];
      if (number < 0) {
        number = static_cast<std::int64_t>(pages.size());
        pages.push_back(page);
        tokens.push_back(0);
      }
      tokens[index(number)] = std::max(tokens[index(number)], std::min(page_size_, state.length - p * page_size_));
      writer.number(number);
    }
  }
  const CacheView view = this->view();
  for (std::size_t i = 0; i < pages.size(); ++i) {
    struct Blocks {
      const CacheView& view;
      Writer& writer;
      std::int64_t tokens;
      void strips(const std::byte* data, std::size_t bytes, bool is_k) const {
        if (std::byte* const block = writer.block(data, bytes); block != nullptr) clear_tail(view, is_k, tokens, block);
      }
      void scales(const float* data, std::size_t count) const { writer.block(data, count * sizeof(float)); }
    };
    for_each_page_block(pages[i], tokens[i], Blocks{view, writer, tokens[i]});
  }
  for (const std::int64_t slot : slots_)
    for_each_slot_block(slot, [&](const void* data, std::size_t bytes) { writer.block(data, bytes); });
  return writer.size();
}

Status Cache::load(std::span<const std::byte> from) {
  Reader reader(from);
  const auto damaged = [](std::string_view what) { return invalid_argument("the saved cache is damaged: ", what); };
  std::vector<std::int32_t> pages;
  std::vector<std::int64_t> tokens;
  for (std::int64_t b = 0; b < options_.batch; ++b) {
    State& state = states_[index(b)];
    if (!reader.number(state.length) || !reader.number(state.kept_begin)) return damaged("it ends among its lengths");
    if (state.length < 0 || state.length > options_.capacity) return damaged("a length exceeds the capacity");
    if (state.kept_begin > state.length || state.kept_begin < std::max<std::int64_t>(state.length - kKeptRing, 0))
      return damaged("a sequence has more kept rows than there are places for them");
    for (std::int64_t p = 0; p < pages_of(state.length); ++p) {
      std::int64_t number = 0;
      if (!reader.number(number)) return damaged("it ends among its pages");
      const auto known = static_cast<std::int64_t>(pages.size());
      if (number < 0 || number > known || (number < known && !paged())) return damaged("a page has a wrong number");
      if (number == known) {
        if (paged() && pages_.free() == 0) return damaged("it has more pages than its pool");
        pages.push_back(paged() ? pages_.take() : page(b, 0));
        tokens.push_back(0);
      } else {
        pages_.share(pages[index(number)]);
      }
      page(b, p) = pages[index(number)];
      tokens[index(number)] = std::max(tokens[index(number)], std::min(page_size_, state.length - p * page_size_));
    }
  }
  bool complete = true;
  struct Blocks {
    Reader& reader;
    bool& complete;
    void strips(std::byte* data, std::size_t bytes, bool) const { complete = complete && reader.block(data, bytes); }
    void scales(float* data, std::size_t count) const {
      complete = complete && reader.block(data, count * sizeof(float));
    }
  };
  for (std::size_t i = 0; i < pages.size() && complete; ++i)
    for_each_page_block(pages[i], tokens[i], Blocks{reader, complete});
  for (std::int64_t b = 0; b < options_.batch && complete; ++b)
    for_each_slot_block(b, [&](void* data, std::size_t bytes) { complete = complete && reader.block(data, bytes); });
  if (!complete) return damaged("it ends among its rows");
  if (reader.left() != 0) return damaged("bytes follow its rows");
  return {};
}

}  // namespace octavo::kv_cache
