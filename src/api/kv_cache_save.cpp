// KVCache::save and load: the header with its checks, then the contents by kv_cache/save.
#include <bit>
#include <cstddef>
#include <cstring>

#include "api/kv_cache_device.hpp"
#include "api/kv_cache_options.hpp"
#include "core/guard.hpp"
#include "core/text.hpp"
#include "kv_cache/cache.hpp"

namespace octavo {
namespace {

static_assert(std::endian::native == std::endian::little, "saved caches are little-endian");

constexpr char kMagic[8] = {'o', 'c', 't', 'a', 'v', 'o', 'K', 'V'};
constexpr std::int64_t kVersion = 1;

struct Header {
  char magic[8];
  std::int64_t version;
  std::uint64_t size;      // of all
  std::uint64_t checksum;  // of all but this number
  std::int64_t batch, kv_heads, head_dim, value_head_dim, capacity, format, kept_keys, page_size, pages;
};
static_assert(sizeof(Header) == 104);

// Multiplications by odd numbers and shifts lose nothing: a change of one word always changes the sum.
std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
    if (at == offsetof(Header, checksum)) continue;
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    sum = (sum ^ word) * 0x9E3779B97F4A7C15u;
    sum ^= sum >> 32;
  }
  return sum;
}

Status save_to(const kv_cache::Cache& cache, std::span<std::byte> bytes) {
  const std::size_t size = sizeof(Header) + cache.save(nullptr);
  if (bytes.size() != size) {
    return invalid_argument("bytes has ", bytes.size(), " bytes; it must have ", size, ", the cache's saved_size()");
  }
  if (bytes.data() == nullptr) return invalid_argument("bytes is a null pointer");
  const KVCacheOptions& o = cache.options();
  Header header{{},
                kVersion,
                size,
                0,
                o.batch,
                o.kv_heads,
                o.head_dim,
                o.value_head_dim,
                o.capacity,
                static_cast<std::int64_t>(o.format),
                o.kept_keys ? 1 : 0,
                o.page_size,
                o.pages};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::memcpy(bytes.data(), &header, sizeof(header));
  cache.save(bytes.data() + sizeof(header));
  header.checksum = checksum_of(bytes);
  std::memcpy(bytes.data(), &header, sizeof(header));
  return {};
}

Result<std::unique_ptr<kv_cache::Cache>> load_from(std::span<const std::byte> bytes, Device device) {
  Header header{};
  if (bytes.size() >= sizeof(kMagic)) std::memcpy(header.magic, bytes.data(), sizeof(kMagic));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return invalid_argument("the ", bytes.size(), " bytes are not a saved cache: they do not begin with \"octavoKV\"");
  }
  if (bytes.size() < sizeof(header)) {
    return invalid_argument("the saved cache is truncated: ", bytes.size(), " bytes, and its header has ",
                            sizeof(header));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.version != kVersion) {
    return unimplemented("the saved cache has version ", header.version, " of the format; this library reads version ",
                         kVersion);
  }
  if (header.size != bytes.size()) {
    return invalid_argument("the saved cache ",
                            header.size > bytes.size() ? "is truncated" : "has bytes behind its end", ": ",
                            bytes.size(), " bytes, and ", header.size, " were saved");
  }
  if (header.checksum != checksum_of(bytes) || bytes.size() % 8 != 0) {
    return invalid_argument("the saved cache is damaged: its checksum is ", checksum_of(bytes), " and was ",
                            header.checksum);
  }
  if (header.format < 0 || header.format > static_cast<std::int64_t>(DType::boolean)) {
    return invalid_argument("the saved cache is damaged: its format is ", header.format);
  }
  KVCacheOptions options;
  options.batch = header.batch;
  options.kv_heads = header.kv_heads;
  options.head_dim = header.head_dim;
  options.value_head_dim = header.value_head_dim;
  options.capacity = header.capacity;
  options.format = static_cast<DType>(header.format);
  options.kept_keys = header.kept_keys != 0;
  options.page_size = header.page_size;
  options.pages = header.pages;
  if (Status status = check_options(options); !status.ok()) return status;
  KVCacheOptions there = options;
  there.device = device;
  if (Status status = check_options(there); !status.ok()) return status;
  Result<std::unique_ptr<kv_cache::Cache>> cache = kv_cache::Cache::create(options);
  if (!cache.ok()) return cache;
  if (Status status = (*cache)->load(bytes.subspan(sizeof(header))); !status.ok()) return status;
  return device.type == DeviceType::cpu ? std::move(cache) : copy_to_device(**cache, device);
}

}  // namespace

std::size_t KVCache::saved_size() const noexcept {
  try {
    return sizeof(Header) + cache_->save(nullptr);
  } catch (...) {
    return 0;  // no memory for its lists; save() says so
  }
}

Status KVCache::save(std::span<std::byte> bytes) const noexcept {
  return guarded([&]() -> Status {
    if (!cache_->on_device()) return save_to(*cache_, bytes);
    const Result<std::unique_ptr<kv_cache::Cache>> on_host = copy_to_host(*cache_);
    return on_host.ok() ? save_to(**on_host, bytes) : on_host.status();
  });
}

Result<KVCache> KVCache::load(std::span<const std::byte> bytes, Device device) noexcept {
  return guarded([&]() -> Result<KVCache> {
    Result<std::unique_ptr<kv_cache::Cache>> cache = load_from(bytes, device);
    if (!cache.ok()) return cache.status();
    return KVCache(*std::move(cache));
  });
}

}  // namespace octavo
