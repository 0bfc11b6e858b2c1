// Two names of one file: the same path once links and dots are resolved, or one file under two names.
#include "common/output_files.hpp"

#include <filesystem>
#include <system_error>

#include "common/failure.hpp"

namespace octavo::tool {
namespace {

namespace fs = std::filesystem;

bool is_file(const NamedFile& file) { return !file.path.empty() && file.path != "-"; }

// The file need not exist yet. Empty where the path leads nowhere: opening it says why.
fs::path resolved(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error) return {};
  fs::path canonical = fs::weakly_canonical(absolute, error);
  return error ? fs::path() : canonical;
}

bool one_file(const std::string& a, const std::string& b) {
  std::error_code error;
  if (fs::equivalent(a, b, error)) return true;  // hard links, too
  const fs::path first = resolved(a);
  return !first.empty() && first == resolved(b);
}

std::string said(const NamedFile& file) { return file.flag + " " + file.path; }

}  // namespace

void check_outputs(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!is_file(outputs[i])) continue;
    for (const NamedFile& input : inputs) {
      if (!is_file(input) || !one_file(outputs[i].path, input.path)) continue;
      fail(kExitUsage,
           said(outputs[i]) + " would overwrite " + said(input) + "; every output requires a separate file");
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (!is_file(outputs[j]) || !one_file(outputs[i].path, outputs[j].path)) continue;
      fail(kExitUsage,
           said(outputs[i]) + " would overwrite " + said(outputs[j]) + "; every output requires a separate file");
    }
  }
}

}  // namespace octavo::tool
