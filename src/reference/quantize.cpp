// quantize() by the oracle: the attention's own steps, their results written where the caller wants them. Q is always
// made of 8-bit (or smaller) codes with its block means, however few its rows.
#include <algorithm>

#include "reference/operand.hpp"
#include "reference/quantize_steps.hpp"
#include "reference/reference.hpp"

namespace octavo::reference {

void quantize(const QuantizeProblem& p) {
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t h = 0; h < p.heads; ++h) {
      Matrix x = load_rows(p.x, b, h, 0, p.rows, p.dim);
      RowFlags exists;
      for (std::int64_t row = 0; p.hides_keys() && row < p.rows; ++row) exists.push_back(p.key_exists(b, row));
      clear_unseen(x, exists);
      const QuantizedRows result = p.role == Role::q   ? quantize_q(std::move(x), p.recipe)
                                   : p.role == Role::k ? quantize_k(std::move(x), p.recipe, exists)
                                                       : quantize_v(std::move(x), p.recipe, exists);
      store_codes(p.codes, b, h, result.codes);
      const std::int64_t head = b * p.heads + h;
      const auto write = [head](const std::vector<float>& values, float* to, std::int64_t per_head) {
        if (to != nullptr) std::copy(values.begin(), values.end(), to + head * per_head);
      };
      write(result.scales.values, p.scales, p.scales_per_head);
      write(result.means.data, p.mean, p.means_per_head);
    }
  }
}

}  // namespace octavo::reference
