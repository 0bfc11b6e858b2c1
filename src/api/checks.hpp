// From the caller's arguments to a Problem that kernels can trust, or to an error that names the bad argument.
#pragma once

#include "api/byte_ranges.hpp"
#include "api/tensor_checks.hpp"
#include "core/problem.hpp"
#include "octavo/attention.hpp"

namespace octavo {

// check_recipe(); the calling thread's last valid recipe is remembered.
Status check_recipe_once(const Recipe& recipe);

// Fills `problem` (default-constructed) and `ranges`, the memory that the call reads and writes. With
// Pointers::optional, null data stands for memory that will exist when the call runs; such a problem may be used for
// sizes only.
Status check_attention(const AttentionInputs& inputs, const AttentionParams& params, Pointers pointers,
                       Problem& problem, ByteRanges& ranges);

// The two halves of check_attention(). Operands: q, k, v, out, lse and, because they decide the shapes, cu_seqlens.
Status check_operands(const AttentionInputs& inputs, Pointers pointers, Problem& problem, ByteRanges& ranges);
// Numbers, kv_lens, mask, alibi_slopes and sinks; `problem` holds the operands.
Status check_options(const AttentionInputs& inputs, const AttentionParams& params, Pointers pointers, Problem& problem,
                     ByteRanges& ranges);

// s32 or s64 [entries] as the problem holds it. On the CPU memory is needed even where only sizes are asked for.
Status check_integers(std::string_view name, const TensorView& view, std::int64_t entries,
                      std::string_view expected_shape, Pointers pointers, ByteRange& range, IntegerArray& integers);

}  // namespace octavo
