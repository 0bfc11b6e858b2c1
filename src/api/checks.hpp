// From what the caller wrote to a Problem that kernels can trust, or to a sentence that says what is wrong with it.
#pragma once

#include "api/byte_ranges.hpp"
#include "api/views.hpp"
#include "core/problem.hpp"
#include "octavo/attention.hpp"

namespace octavo {

// check_recipe(), remembering the calling thread's last sound one.
Status check_recipe_once(const Recipe& recipe);

// Fills `problem` (as default-constructed) and `ranges`, the memory the call reads and writes. With Pointers::optional,
// null data stands for memory that will be there when the call runs; the problem then is fit for asking sizes only.
Status check_attention(const AttentionInputs& inputs, const AttentionParams& params, Pointers pointers,
                       Problem& problem, ByteRanges& ranges);

// The two halves of check_attention(). Operands: q, k, v, out, lse and, because they decide the shapes, cu_seqlens.
Status check_operands(const AttentionInputs& inputs, Pointers pointers, Problem& problem, ByteRanges& ranges);
// Numbers, kv_lens, mask, alibi_slopes and sinks; `problem` holds the operands.
Status check_options(const AttentionInputs& inputs, const AttentionParams& params, Pointers pointers, Problem& problem,
                     ByteRanges& ranges);

// s32 or s64 [entries] as the problem holds it. On the CPU memory is needed even where only sizes are asked for.
Status check_integers(std::string_view name, const TensorView& view, std::int64_t entries,
                      std::string_view entries_words, Pointers pointers, ByteRange& range, IntegerArray& integers);

}  // namespace octavo
