// The kept keys of a tile's rows: token 0 and the tokens near the diagonal in f32 from their 16-bit rows, into a state
// of their own. A warp takes a row: a lane computes the scores of two keys, then two channels at a time of O.
#pragma once

#include "cuda/decode/terms.hpp"

namespace octavo::cuda {

inline constexpr std::int32_t kMostKept = 1 + 2 * spec::kNearStrip;  // token 0 and two strips
static_assert(kMostKept <= 2 * kLanes);

// Kept key c of a row; -1: it does not count. Token 0 may be a near key, too: it is taken once, as the first.
OCTAVO_INLINE std::int32_t kept_token(const RowKeys& keys, std::int32_t c) {
  if (c == 0) return keys.begin == 0 && keys.end > 0 ? 0 : -1;
  const std::int32_t token = keys.near_begin + c - 1;
  return token > 0 && token < keys.near_end ? token : -1;
}

template <class Machine>
OCTAVO_DEVICE void attend_kept_row(Machine& machine, const DecodeParams& p, DecodeShared shared, const DecodeTask& task,
                                   std::int32_t r, float* state) {
  const CacheView& cache = p.cache;
  const std::uint32_t row_at = row_in_shared(r), q_at = shared.floats(static_cast<std::uint32_t>(r));
  const std::uint32_t weights_at = DecodeShared::kWeightsAt + static_cast<std::uint32_t>(machine.warp()) * 256;
  const DecodeRow query = decode_row(p, task, r);
  const auto slot_of = [&](std::int32_t token) {
    return cache.kept_slot(task.slot, task.head, token == 0 ? 0 : 1 + token % kKeptRing);
  };
  Registers<Machine, float, 2> scores;
  Registers<Machine, float, 1> m, l;
  machine.lanes(
      [&](int lane, float(&s)[2], float(&best)[1]) {
        const auto keys = machine.template shared<RowKeys>(row_at + 16);
        best[0] = s[0] = s[1] = -__builtin_inff();
        OCTAVO_ROLLED
        for (int i = 0; i < 2; ++i) {
          const std::int32_t token = kept_token(keys, lane + kLanes * i);
          if (token < 0) continue;
          const std::int64_t slot = slot_of(token);
          const std::uint16_t* const row = cache.kept_k + slot * cache.k_columns;
          float sum = 0;
          OCTAVO_ROLLED
          for (int c = 0; c < cache.k_columns; c += 8) {  // columns are a multiple of 8
            const auto eight = *reinterpret_cast<const FourWords*>(row + c);
            OCTAVO_UNROLL
            for (int j = 0; j < 8; ++j) {
              const auto q = machine.template shared<float>(q_at + 4 * static_cast<std::uint32_t>(c + j));
              sum = __builtin_fmaf(q, Machine::from_f16(static_cast<std::uint16_t>(eight.of[j / 2] >> (j % 2 * 16))),
                                   sum);
            }
          }
          float x = sum * cache.kept_k_unit[slot] * machine.template shared<float>(row_at + 4);
          if (modifies_scores(p)) {
            x = modified_score<Machine>(p, task, query, machine.template shared<RowTermsOfCache>(row_at + 32),
                                        machine.template shared<float>(row_at + 8), token, x);
          }
          best[0] = __builtin_fmaxf(best[0], x);
          if (i == 0) s[0] = x;  // an index that is not known would put them into memory
          if (i == 1) s[1] = x;
        }
      },
      scores, m);
  max_over<kLanes>(machine, m);
  machine.lanes(
      [&](int lane, float(&s)[2], float(&best)[1], float(&sum)[1]) {
        const auto keys = machine.template shared<RowKeys>(row_at + 16);
        sum[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < 2; ++i) {
          const std::int32_t c = lane + kLanes * i, token = kept_token(keys, c);
          float w = 0;
          if (s[i] != -__builtin_inff()) {
            w = Machine::exp2(s[i] - (best[0] == -__builtin_inff() ? 0.0f : best[0]));
            const float unit = cache.kept_v_unit[slot_of(token)];
            sum[0] += __builtin_fmaf(unit, 0.0f, w);  // NaN where the token of V is not finite
            w = w * unit * spec::kCacheOutputUnit;
          }
          machine.store_shared(weights_at + 4 * static_cast<std::uint32_t>(c), w);
        }
      },
      scores, m, l);
  sum_over<kLanes>(machine, l);
  machine.sync_warp();
  machine.lanes(
      [&](int lane, float(&best)[1], float(&sum)[1]) {
        const auto keys = machine.template shared<RowKeys>(row_at + 16);
        if (lane == 0) {
          state[4 * r] = best[0], state[4 * r + 1] = sum[0];
          state[4 * r + 2] = machine.template shared<float>(row_at + 8);
        }
        float* const to = state + p.state_rows * 4 + r * cache.v_columns;
        OCTAVO_ROLLED
        for (int channel = 2 * lane; channel < cache.v_columns; channel += 2 * kLanes) {
          float o[2] = {0, 0};
          OCTAVO_ROLLED
          for (std::int32_t c = 0; c < kMostKept; ++c) {
            const auto w = machine.template shared<float>(weights_at + 4 * static_cast<std::uint32_t>(c));
            if (w == 0) continue;
            const std::uint32_t two = *reinterpret_cast<const std::uint32_t*>(
                cache.kept_v + slot_of(kept_token(keys, c)) * cache.v_columns + channel);
            o[0] = __builtin_fmaf(w, Machine::from_f16(static_cast<std::uint16_t>(two)), o[0]);
            o[1] = __builtin_fmaf(w, Machine::from_f16(static_cast<std::uint16_t>(two >> 16)), o[1]);
          }
          to[channel] = o[0], to[channel + 1] = o[1];
        }
      },
      m, l);
  machine.sync_warp();
}

}  // namespace octavo::cuda
