// In which order the tasks of attention are drawn: one is a stretch of query rows of a head.
#pragma once

#include <cstdint>

#include "core/inline.hpp"

namespace octavo::spec {

// Tasks that every worker finds in a group of heads: enough of them short ones that workers end together.
inline constexpr std::int64_t kTasksToEndWith = 4;

struct TaskPlace {
  std::int64_t head, stretch;
  friend constexpr bool operator==(const TaskPlace&, const TaskPlace&) = default;
};

// The head and stretch of task number `task` of heads * stretches; workers >= 1. Heads follow one another, so that K
// and V stay near. Where rows grow longer to the end, long tasks must not come last: then so many heads go together,
// their last stretches first, that every worker has kTasksToEndWith tasks of them.
OCTAVO_INLINE constexpr TaskPlace task_place(std::int64_t task, std::int64_t heads, std::int64_t stretches,
                                             std::int64_t workers, bool rows_grow) {
  if (!rows_grow) return {task / stretches, task % stretches};
  const std::int64_t least = (kTasksToEndWith * workers + stretches - 1) / stretches;
  const std::int64_t groups = heads / least > 1 ? heads / least : 1, size = heads / groups;
  const std::int64_t drawn = task / (size * stretches), group = drawn < groups ? drawn : groups - 1;
  const std::int64_t first = group * size, within = task - first * stretches;
  const std::int64_t together = group + 1 < groups ? size : heads - first;  // the last group takes what remains
  return {first + within % together, stretches - 1 - within / together};
}

}  // namespace octavo::spec
