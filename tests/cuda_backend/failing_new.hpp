// Memory of the host that runs out: the program's operator new, which failing_new.cpp replaces.
#pragma once

namespace octavo::test {

// While one lives, the allocation after `count` of them fails, and so do all later ones; unless stop() ends it before.
class FailingNew {
 public:
  explicit FailingNew(long count);
  ~FailingNew() { stop(); }
  FailingNew(const FailingNew&) = delete;
  FailingNew& operator=(const FailingNew&) = delete;
  static void stop();
};

}  // namespace octavo::test
