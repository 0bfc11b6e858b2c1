// Includes octavo's whole C++ interface.
#pragma once

#include "octavo/attention.hpp"
#include "octavo/device.hpp"
#include "octavo/execution.hpp"
#include "octavo/implementation.hpp"
#include "octavo/kv_cache.hpp"
#include "octavo/merge.hpp"
#include "octavo/parallel.hpp"
#include "octavo/quantize.hpp"
#include "octavo/recipe.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"
#include "octavo/version.hpp"
