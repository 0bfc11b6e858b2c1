// --role q|k|v
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "octavo/quantize.hpp"

namespace octavo::tool {

inline void add_role_option(CLI::App& command, std::string& role) {
  command.add_option("--role", role, "Which operand: q, k or v")
      ->check(CLI::IsMember({"q", "k", "v"}))
      ->capture_default_str();
}

// After the check above.
inline Role role_of(const std::string& role) { return role == "q" ? Role::q : role == "k" ? Role::k : Role::v; }

}  // namespace octavo::tool
