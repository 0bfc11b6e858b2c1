// One warp's asynchronous products (wgmma) between issue and wait, and the registers that may not be accessed
// meanwhile: those of a product's sums, and of its left operand where that is in registers. Operands are read at issue
// and at the wait; which of the two the result comes from is the completion mode's choice. Sums in flight read as
// poison where the result comes late, and must be found as they were left.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace octavo::cuda::emulation {

struct RegisterRange {  // all lanes' of one Registers object, or some
  void* at = nullptr;
  std::size_t bytes = 0;
};

class AsyncProducts {
 public:
  explicit AsyncProducts(int warp) : warp_(warp) {}

  // Another primitive reads or writes them.
  void touch(const RegisterRange& registers);
  void fence(const std::vector<RegisterRange>& registers);
  // `multiply(sums, a)` adds the product to `sums`, or sets them; `a`: a copy of the left operand's registers.
  using Multiply = std::function<void(std::byte* sums, const std::byte* a)>;
  void issue(const RegisterRange& sums, const RegisterRange& a, Multiply multiply, bool now);
  void commit();
  void wait(std::size_t left, const std::vector<RegisterRange>& registers);
  void check_end() const;

 private:
  struct Sums {
    RegisterRange registers;
    std::vector<std::byte> value, shown;  // by the products so far; what the registers hold meanwhile
    int in_flight = 0;                    // products
  };
  struct Product {
    void* sums;  // their registers
    RegisterRange a;
    std::vector<std::byte> a_value;
    Multiply multiply;
    bool now;
  };
  Sums* find(const void* at);
  void check_fenced(const RegisterRange& registers, const char* what) const;
  void complete(const Product& product);

  int warp_;
  bool has_fenced_ = false;
  std::vector<RegisterRange> touched_;  // since a fence has named them
  std::vector<Sums> sums_;              // of products that no wait has named yet
  std::vector<Product> open_;           // in no group yet
  std::vector<std::vector<Product>> groups_;
};

}  // namespace octavo::cuda::emulation
