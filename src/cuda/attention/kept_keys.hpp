// Kept keys (spec/kept_keys.hpp): attention over a few keys of each row from Q, K and V as the caller gave them, by
// 16-bit products, and its join with the rest that the attention kernels left. A warp takes 16 rows. 16 keys at a time
// pass through shared memory, loaded by all warps for all: the strips around the diagonals of the block's rows, of
// which a warp takes those of its own, then the first and heavy keys of the query block.
//   T = softmax_scale log2(e) q . k (+ softcap, mask, ALiBi),   m = max T,   l = sum 2^(T - m),   O = sum 2^(T - m) v
// Numbers of f32 are the sum of three of bf16, multiplied plane by plane; weights are the sum of two or three.
#pragma once

#include "cuda/attention/epilogue.hpp"
#include "cuda/attention/kept_tiles.hpp"
#include "cuda/attention/mask.hpp"
#include "cuda/attention/params.hpp"
#include "cuda/attention/score_mod.hpp"
#include "cuda/operands/bf16_planes.hpp"
#include "cuda/operands/load_transform.hpp"
#include "cuda/tile/register_parts.hpp"

namespace octavo::cuda {

template <class Shape, class Machine>
struct KeptWarp {
  const KeptKeysParams& params;
  const AttentionKernelParams& p;
  const AttentionTask& task;
  std::int32_t first_row;
  KeptColumns columns;
  std::int32_t own_begin = 0, own_end = 0;   // near keys of the warp's rows
  Registers<Machine, std::int32_t, 8> keys;  // of both rows of a lane: those that it sees, its near ones
  RowTerms<Machine> terms;
  RowState<Machine> state;
  Registers<Machine, float, Shape::kDim / 2> out;

  OCTAVO_DEVICE KeptWarp(Machine& machine, const KeptKeysParams& all, const AttentionTask& its)
      : params(all), p(all.attention), task(its), first_row(its.first_row + 16 * machine.warp()) {
    start_rows(machine, state);
    clear<Machine, float, Shape::kDim / 2>(machine, out);
    read_row_terms(machine);
    const spec::PositionMask mask = position_mask(p, its.q_rows, its.k_rows);
    const spec::KeptKeys kept = kept_keys_of(p.kept, mask);
    find_row_keys(machine, mask, kept);
    find_list(kept);
  }

  OCTAVO_DEVICE static std::uint32_t of_warp(Machine& machine, std::uint32_t at, std::uint32_t bytes) {
    return at + static_cast<std::uint32_t>(machine.warp()) * bytes;
  }
  OCTAVO_DEVICE bool has_rows() const { return first_row < task.q_rows; }

  // What the attention kernel knew of the rows.
  OCTAVO_DEVICE const float* state_of_row(std::int32_t row) const {
    return p.unfinished.state + 4 * (task.chunk_row + (row - task.first_row));
  }
  OCTAVO_DEVICE void read_row_terms(Machine& machine) {
    machine.lanes(
        [&](int lane, float(&row_max)[2], float(&lse_offset)[2], float(&logit_offset)[2]) {
          for (int half = 0; half < 2; ++half) {
            const std::int32_t row = row_of_lane(first_row, lane, half);
            row_max[half] = lse_offset[half] = logit_offset[half] = 0;
            if (row >= task.q_rows) continue;
            lse_offset[half] = state_of_row(row)[2], row_max[half] = state_of_row(row)[3];
            logit_offset[half] = logit_offset_of_row(p, task, row);
          }
        },
        terms.row_max, terms.lse_offset, terms.logit_offset);
  }

  OCTAVO_DEVICE void find_row_keys(Machine& machine, const spec::PositionMask& mask, const spec::KeptKeys& kept) {
    Registers<Machine, std::int32_t, 2> ends;  // the least begin, the negated largest end
    machine.lanes(
        [&](int lane, std::int32_t(&own)[8], std::int32_t(&x)[2]) {
          x[0] = 0x7fffffff, x[1] = 0;
          OCTAVO_UNROLL
          for (int half = 0; half < 2; ++half) {
            const std::int32_t row = row_of_lane(first_row, lane, half);
            const bool exists = row < task.q_rows;
            const spec::KeyRange seen = exists ? spec::visible_keys(mask, row) : spec::KeyRange{0, 0};
            const spec::KeyRange near = exists ? spec::near_keys(kept, mask, row) : spec::KeyRange{0, 0};
            own[4 * half] = static_cast<std::int32_t>(seen.begin);
            own[4 * half + 1] = static_cast<std::int32_t>(seen.end);
            const auto begin = own[4 * half + 2] = static_cast<std::int32_t>(near.begin);
            const auto end = own[4 * half + 3] = static_cast<std::int32_t>(near.end);
            if (begin >= end) continue;
            x[0] = begin < x[0] ? begin : x[0], x[1] = -end < x[1] ? -end : x[1];
          }
        },
        keys, ends);
    reduce_over<kLanes>(machine, ends, [](std::int32_t a, std::int32_t b) { return a < b ? a : b; });
    machine.lanes([&](int, std::int32_t(&x)[2]) { own_begin = x[0], own_end = -x[1]; }, ends);
  }
  OCTAVO_DEVICE void find_list(const spec::KeptKeys& kept) {
    columns.first = kept.first < task.k_rows ? static_cast<std::int32_t>(kept.first) : task.k_rows;
    columns.listed = columns.first;
    if (p.kept.heavy_keys == nullptr) return;
    columns.heavy = p.kept.heavy_keys + task.chunk_row / kPackedRows * kHeavyList;
    for (std::int32_t i = 0; i < kept.heavy && columns.heavy[i] >= 0; ++i) ++columns.listed;
  }

  // What the warps tell each other, and the columns that follow from it.
  OCTAVO_DEVICE void share_columns(Machine& machine) {
    const Keys32 own{own_begin, own_end};
    machine.store_shared(of_warp(machine, Shape::kSpansAt, sizeof own), own);
    machine.sync("near keys of the warps");
    std::int32_t begin = 0x7fffffff, end = 0;
    OCTAVO_UNROLL
    for (std::uint32_t warp = 0; warp < Shape::kWarps; ++warp) {
      const auto its = machine.template shared<Keys32>(Shape::kSpansAt + warp * sizeof own);
      begin = its.begin < begin ? its.begin : begin;
      end = its.end > end ? its.end : end;
    }
    if (end > 0) columns.span_begin = begin, columns.span_end = end;
  }

  OCTAVO_DEVICE void load_queries(Machine& machine) {
    const OperandRows& q = params.q;
    const std::int64_t base =
        task.batch * q.strides[0] + task.head * q.strides[1] + (task.q_begin + first_row) * q.strides[2];
    OCTAVO_ROLLED
    for (std::uint32_t first = 0; first < 16; first += Shape::kRowsOfUnit) {
      load_kept_rows<Shape>(machine, q, base, 1.0f, of_warp(machine, Shape::kQueriesAt, Shape::kTileBytes),
                            of_warp(machine, Shape::kFlagsAt, 16 * 4), first,
                            [&](int i) -> std::int64_t { return first_row + i < task.q_rows ? i : -1; });
    }
  }

  // The warp's part of K and V of a tile. Keys that do not exist are zeros.
  OCTAVO_DEVICE void load_tile(Machine& machine, std::int32_t tile, std::uint32_t stage) {
    const std::int64_t begin = p.keys.varlen() ? varlen_rows(p.keys, task.batch).begin : 0;
    const auto row_of = [&](int i) -> std::int64_t {
      const std::int32_t key = columns.key(tile, i);
      return key >= 0 && key < task.k_rows && key_exists(p, task, key) ? key : -1;
    };
    OCTAVO_ROLLED
    for (auto unit = static_cast<std::uint32_t>(machine.warp()); unit < Shape::kUnits; unit += Shape::kWarps) {
      const std::uint32_t of_v = unit / (Shape::kUnits / 2), part = 2 * stage + of_v;
      const OperandRows& x = of_v != 0 ? params.v : params.k;
      const float factor =
          of_v != 0 ? v_prescale(params.prescale_amax, task.batch * p.keys.heads + task.kv_head) : 1.0f;
      load_kept_rows<Shape>(machine, x, task.batch * x.strides[0] + task.kv_head * x.strides[1] + begin * x.strides[2],
                            factor, Shape::kStagesAt + part * Shape::kTileBytes, Shape::kKeyFlagsAt + part * 16 * 4,
                            unit % (Shape::kUnits / 2) * Shape::kRowsOfUnit, row_of);
    }
  }

  // Whether some row of the warp may keep keys of the tile.
  OCTAVO_DEVICE bool takes(std::int32_t tile) const {
    if (!has_rows()) return false;
    const std::int32_t key = 16 * (columns.first_strip() + tile);
    return tile >= columns.span_tiles() || (own_begin < key + 16 && own_end > key);
  }

  // Q . K [16, 16].
  OCTAVO_DEVICE void multiply(Machine& machine, std::uint32_t stage, Registers<Machine, float, 8>& scores) {
    clear<Machine, float, 8>(machine, scores);
    OCTAVO_UNROLL
    for (int i = Shape::kPlanes - 1; i >= 0; --i) {
      OCTAVO_UNROLL
      for (int j = Shape::kPlanes - 1 - i; j >= 0; --j) {
        const std::uint32_t q =
            of_warp(machine, Shape::kQueriesAt, Shape::kTileBytes) + static_cast<std::uint32_t>(i) * Shape::kPlaneBytes;
        const std::uint32_t k =
            Shape::kStagesAt + 2 * stage * Shape::kTileBytes + static_cast<std::uint32_t>(j) * Shape::kPlaneBytes;
        OCTAVO_UNROLL
        for (std::uint32_t chunk = 0; chunk < Shape::kRowBytes / kChunkBytes; chunk += 2) {
          Registers<Machine, std::uint32_t, 4> a, b;
          machine.template ldmatrix<false>(a, 0, [&](int lane) {
            const auto l = static_cast<std::uint32_t>(lane);
            return q + SharedTile<Shape::kRowBytes>::at(l % 16, chunk + l / 16);
          });
          // Keys 0..7 in registers 0, 1; 8..15 in 2, 3.
          machine.template ldmatrix<false>(b, 0, [&](int lane) {
            const auto l = static_cast<std::uint32_t>(lane);
            return k + SharedTile<Shape::kRowBytes>::at(l % 8 + l / 16 * 8, chunk + l / 8 % 2);
          });
          machine.template mma<Shape::kProduct>(scores, 0, a, 0, b, 0);
          machine.template mma<Shape::kProduct>(scores, 4, a, 0, b, 2);
        }
      }
    }
  }

  // From products to T: everything between the product and the softmax, then which keys are the rows' own.
  OCTAVO_DEVICE void modify(Machine& machine, std::int32_t tile, std::uint32_t stage,
                            Registers<Machine, float, 8>& scores) {
    const bool of_span = tile < columns.span_tiles();
    const std::uint32_t row_flags = of_warp(machine, Shape::kFlagsAt, 16 * 4);
    const std::uint32_t key_flags = Shape::kKeyFlagsAt + 2 * stage * 16 * 4;
    const float inverse = p.softcap > 0 ? 1.0f / p.softcap : 0.0f;
    machine.lanes(
        [&](int lane, float(&s)[8], float(&row_max)[2], float(&logit_offset)[2], std::int32_t(&of_rows)[8]) {
          OCTAVO_ROLLED
          for (int half = 0; half < 2; ++half) {
            const std::int32_t row = row_of_lane(first_row, lane, half);
            const Keys32 seen{half == 0 ? of_rows[0] : of_rows[4], half == 0 ? of_rows[1] : of_rows[5]};
            const Keys32 near{half == 0 ? of_rows[2] : of_rows[6], half == 0 ? of_rows[3] : of_rows[7]};
            const RowAlibi alibi = alibi_of_row<Machine>(p, task, row);
            const float poison =
                machine.template shared<float>(row_flags + 4 * static_cast<std::uint32_t>(lane / 4 + 8 * half));
            const float max_of_mask = half == 0 ? row_max[0] : row_max[1];
            const float logit = half == 0 ? logit_offset[0] : logit_offset[1];
            // Both halves take turns in the registers of the first.
            OCTAVO_UNROLL
            for (int j = 0; j < 4; ++j) {
              const int i = j / 2 * 4 + j % 2, column = j / 2 * 8 + lane % 4 * 2 + j % 2;
              const std::int32_t key = columns.key(tile, column);
              const bool is_near = key >= near.begin && key < near.end;
              bool own = key >= seen.begin && key < seen.end && is_near == of_span && key_exists(p, task, key);
              // A product beyond f32 stays a number: -infinity is for hidden keys.
              float x = s[i] * p.logit_scale;
              x = x != x ? x : spec::bounded(x);
              if (p.softcap > 0) {
                x = apply_softcap<Machine>(x, 0.0f, inverse, p.softcap);
              } else {
                x = x - logit * kLog2E;
              }
              if (own && p.alibi_slopes.data != nullptr) {
                const auto distance = spec::alibi_distance(p.alibi, key, alibi.diagonal);
                x = __builtin_fmaf(alibi.slope, static_cast<float>(distance - alibi.peak), x);
              }
              if (own && p.mask.data != nullptr) {
                float term = 0;
                with_element_kind(p.mask.dtype, [&]<ElementKind kind>() {
                  term = read_mask<kind, Machine>(p.mask, mask_row(p, task, row) + key * p.mask.strides[3]);
                });
                own = term != -__builtin_inff();
                x = __builtin_fmaf(term - max_of_mask, kLog2E, x);
              }
              const std::uint32_t flag = key_flags + 4 * static_cast<std::uint32_t>(column);
              x = x + poison + machine.template shared<float>(flag) + machine.template shared<float>(flag + 16 * 4);
              s[i] = s[i + 2];
              s[i + 2] = own ? x : -__builtin_inff();
            }
          }
        },
        scores, terms.row_max, terms.logit_offset, keys);
  }

  // O += P V, the weights as a sum of planes.
  OCTAVO_DEVICE void add_values(Machine& machine, std::uint32_t stage, Registers<Machine, float, 8>& weights) {
    constexpr int kWeightPlanes = Shape::kWeightPlanes;
    Registers<Machine, std::uint32_t, 4 * kWeightPlanes> a;
    machine.lanes(
        [](int, float(&w)[8], std::uint32_t(&packed)[4 * kWeightPlanes]) {
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) {  // register 2 tile + half
            float first = w[score_index(i / 2, i % 2, 0)], second = w[score_index(i / 2, i % 2, 1)];
            OCTAVO_UNROLL
            for (int plane = 0; plane < kWeightPlanes; ++plane) {
              std::uint32_t& to = packed[4 * plane + i];
              if constexpr (Shape::kF16) {
                to = Machine::pack_f16(first, second);
                first = first - Machine::from_f16(static_cast<std::uint16_t>(to));
                second = second - Machine::from_f16(static_cast<std::uint16_t>(to >> 16));
              } else {
                to = take_upper_halves(first, second);
              }
            }
          }
        },
        weights, a);
    OCTAVO_UNROLL
    for (int channel = 0; channel < Shape::kDim; channel += 16) {
      OCTAVO_UNROLL
      for (int j = Shape::kPlanes - 1; j >= 0; --j) {
        const std::uint32_t v =
            Shape::kStagesAt + (2 * stage + 1) * Shape::kTileBytes + static_cast<std::uint32_t>(j) * Shape::kPlaneBytes;
        Registers<Machine, std::uint32_t, 4> b;
        machine.template ldmatrix<true>(b, 0, [&](int lane) {
          const auto l = static_cast<std::uint32_t>(lane);
          return v + SharedTile<Shape::kRowBytes>::at(l % 16, static_cast<std::uint32_t>(channel) / 8 + l / 16);
        });
        OCTAVO_UNROLL
        for (int i = kWeightPlanes - 1 - j; i >= 0; --i) {
          machine.template mma<Shape::kProduct>(out, channel / 2, a, 4 * i, b, 0);
          machine.template mma<Shape::kProduct>(out, channel / 2 + 4, a, 4 * i, b, 2);
        }
      }
    }
  }

  OCTAVO_DEVICE void add_tile(Machine& machine, std::int32_t tile, std::uint32_t stage) {
    Registers<Machine, float, 8> scores;
    Registers<Machine, float, 2> maxima, offset, sums;
    TileStep<Machine> step;
    multiply(machine, stage, scores);
    modify(machine, tile, stage, scores);
    row_maxima(machine, scores, maxima);
    clear<Machine, float, 2>(machine, offset);
    online_softmax_update(machine, state, maxima, offset, true, 0.0f, step);
    machine.lanes(
        [](int, float(&s)[8], float(&shift)[2], float(&sum)[2]) {
          sum[0] = sum[1] = 0;
          OCTAVO_UNROLL
          for (int i = 0; i < 8; ++i) {
            s[i] = Machine::exp2(s[i] - shift[i / 2 % 2]);
            sum[i / 2 % 2] += s[i];
          }
        },
        scores, step.shift, sums);
    add_row_sums(machine, state, sums, step);
    rescale_output<Shape>(machine, step, out);
    add_values(machine, stage, scores);
  }

  // Joins both parts, then the sink; stores O and the LSE.
  OCTAVO_DEVICE void store(Machine& machine) {
    sum_over<4>(machine, state.l);
    const float sink =
        p.sinks.data == nullptr
            ? -__builtin_inff()
            : read_number<Machine>(p.sinks, task.batch * p.sinks.strides[0] + task.head * p.sinks.strides[1]);
    const std::int64_t b = p.queries.varlen() ? 0 : task.batch;
    const std::int64_t lse_at = b * p.lse_strides[0] + task.head * p.lse_strides[1] + task.q_begin * p.lse_strides[2];
    const std::int64_t out_at = b * p.out.strides[0] + task.head * p.out.strides[1] + task.q_begin * p.out.strides[2];
    const std::int64_t element_bytes = p.out.dtype == DType::f32 ? 4 : 2;
    const float rescale =
        p.v.output_rescale == nullptr ? 1.0f : p.v.output_rescale[task.batch * p.keys.heads + task.kv_head];
    machine.lanes(
        [&](int lane, float(&m)[2], float(&l)[2], float(&lse_offset)[2], float(&logit_offset)[2],
            float(&o)[Shape::kDim / 2]) {
          // Both halves take turns in the registers of the first.
          OCTAVO_ROLLED
          for (int half = 0; half < 2; ++half) {
            const std::int32_t row = row_of_lane(first_row, lane, half);
            if (row >= task.q_rows) break;
            const float m_kept = half == 0 ? m[0] : m[1], sum_kept = half == 0 ? l[0] : l[1];
            const float rest_m = state_of_row(row)[0], rest_l = state_of_row(row)[1];
            const double constant =
                (p.softcap > 0 ? 0.0 : static_cast<double>(half == 0 ? logit_offset[0] : logit_offset[1])) +
                static_cast<double>(half == 0 ? lse_offset[0] : lse_offset[1]);
            const float joined = m_kept > rest_m ? m_kept : rest_m;
            const float of_rest = rest_m == -__builtin_inff() ? 0.0f : Machine::exp2(rest_m - joined);
            const float of_kept = m_kept == -__builtin_inff() ? 0.0f : Machine::exp2(m_kept - joined);
            const float l_rest = rest_l * of_rest, l_kept = sum_kept * of_kept;
            const spec::RowEnd end = spec::end_of_row<ScalarOps<Machine>>(
                joined, l_rest + l_kept, sink, (static_cast<double>(sink) - constant) * std::numbers::log2e);
            const float share_of_rest = spec::share_of_values(end, l_rest);
            const float share_of_kept = spec::share_of_values(end, l_kept);
            const float norm = sum_kept == 0 ? 0.0f : 1.0f / sum_kept;
            if (p.lse != nullptr && lane % 4 == 0) {
              p.lse[lse_at + row * p.lse_strides[2]] = spec::lse_of_row<ScalarOps<Machine>>(
                  end, sink, static_cast<double>(joined) * std::numbers::ln2 + constant);
            }
            const float* const rest = p.unfinished.out + (task.chunk_row + (row - task.first_row)) * Shape::kDim;
            const std::int64_t first = out_at + row * p.out.strides[2];
            const auto address =
                reinterpret_cast<std::uintptr_t>(p.out.data) + static_cast<std::uintptr_t>(first * element_bytes);
            const bool pairs =
                p.out.strides[3] == 1 && (address & static_cast<std::uintptr_t>(2 * element_bytes - 1)) == 0;
            for_register_parts<16>(o, [&](int of_part, float(&part)[16]) {
              OCTAVO_UNROLL
              for (int tile = 0; tile < 4; ++tile) {
                const int channel = 2 * of_part + 8 * tile + lane % 4 * 2;
                float x[2] = {part[4 * tile], part[4 * tile + 1]};
                part[4 * tile] = part[4 * tile + 2], part[4 * tile + 1] = part[4 * tile + 3];
                if (channel >= p.value_dim) continue;
                OCTAVO_UNROLL
                for (int j = 0; j < 2; ++j) {
                  float own = x[j] * norm;
                  if (rescale != 1) own = rescaled(own, rescale);
                  const float other = channel + j < p.value_dim ? rest[channel + j] : 0.0f;
                  const float sum = own * share_of_kept + other * share_of_rest;
                  // Finite parts stay finite.
                  x[j] = !end.sees ? 0.0f : is_finite(own) && is_finite(other) && sum == sum ? spec::bounded(sum) : sum;
                }
                store_pair<Machine>(p.out, first + channel * p.out.strides[3], pairs, channel + 1 < p.value_dim,
                                    {x[0], x[1]});
              }
            });
          }
        },
        state.m, state.l, terms.lse_offset, terms.logit_offset, out);
  }
};

template <class Shape, class Machine>
OCTAVO_DEVICE void join_kept_keys(Machine& machine, const KeptKeysParams& params) {
  begin_kernel(machine);
  const AttentionTask task = find_task(machine, params.attention, Shape::kRows);
  if (!task.present) return;
  KeptWarp<Shape, Machine> warp(machine, params, task);
  warp.load_queries(machine);
  warp.share_columns(machine);
  std::uint32_t stage = 0;
  OCTAVO_ROLLED
  for (std::int32_t tile = 0; tile < warp.columns.tiles(); ++tile) {
    warp.load_tile(machine, tile, stage);
    machine.sync("kept keys are there");
    if (warp.takes(tile)) warp.add_tile(machine, tile, stage);
    // With two stages no warp loads into one before all have passed the barrier after its use.
    if (Shape::kStages == 1) machine.sync("kept keys are done with");
    stage = Shape::kStages - 1 - stage;
  }
  warp.store(machine);
}

}  // namespace octavo::cuda
