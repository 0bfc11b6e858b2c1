// The check of a cache's options, for caches that are created and for those that are loaded.
#pragma once

#include "octavo/kv_cache.hpp"

namespace octavo {

Status check_options(const KVCacheOptions& options);

}  // namespace octavo
