// Files that a command writes may be neither files that it reads nor one another: what is written last would be all
// that is left.
#pragma once

#include <string>
#include <vector>

namespace octavo::tool {

// A file and the flag that names it. No path, or - (stdout): no file.
struct NamedFile {
  std::string flag, path;
};

// A failure of usage that names both flags, before anything is written.
void check_outputs(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

}  // namespace octavo::tool
