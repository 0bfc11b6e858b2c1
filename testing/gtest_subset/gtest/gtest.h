// The part of GoogleTest's interface that the device tests use, for machines that have no GoogleTest. Test sources
// include <gtest/gtest.h> and compile with either; this one reports each test as one line of JSON when it ends, so that
// results survive a later crash. Not thread-safe: assertions belong to the thread that runs the test.
#pragma once

#include <cmath>
#include <cstddef>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace testing {

/// Collects what is streamed to a failed assertion.
class Message {
 public:
  template <class T>
  Message& operator<<(const T& value) {
    text_ << value;
    return *this;
  }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
};

/// Whether an assertion holds, and why not.
class AssertionResult {
 public:
  explicit AssertionResult(bool holds) : holds_(holds) {}
  explicit operator bool() const { return holds_; }
  const std::string& message() const { return message_; }
  template <class T>
  AssertionResult& operator<<(const T& value) {
    message_ += (Message() << value).text();
    return *this;
  }

 private:
  bool holds_;
  std::string message_;
};
inline AssertionResult AssertionSuccess() { return AssertionResult(true); }
inline AssertionResult AssertionFailure() { return AssertionResult(false); }

class Test {
 public:
  virtual ~Test() = default;
  virtual void TestBody() = 0;
  /// Of the test that runs.
  static bool HasFailure();
};

template <class T>
class TestWithParam : public Test {
 public:
  using ParamType = T;
  const T& GetParam() const { return *parameter_; }
  void set_parameter(const T* parameter) { parameter_ = parameter; }

 private:
  const T* parameter_ = nullptr;
};

template <class T>
struct TestParamInfo {
  T param;
  std::size_t index;
};

template <class T, std::size_t count>
std::vector<T> ValuesIn(const T (&values)[count]) {
  return std::vector<T>(values, values + count);
}

namespace internal {

using Factory = std::function<std::unique_ptr<Test>()>;
/// Registers a test; returns true so that a static variable can hold the result.
bool add(std::string name, Factory factory);
void fail(const char* file, int line, const std::string& what, const std::string& more);

/// One entry of SCOPED_TRACE, for as long as it lives.
class Trace {
 public:
  explicit Trace(const Message& where);
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
};

/// `Failure(...) = Message() << ...`: streaming binds tighter than the assignment, which reports.
class Failure {
 public:
  Failure(const char* file, int line, std::string what) : file_(file), line_(line), what_(std::move(what)) {}
  void operator=(const Message& message) const { fail(file_, line_, what_, message.text()); }

 private:
  const char* file_;
  int line_;
  std::string what_;
};

template <class T>
std::string printed(const T& value) {
  if constexpr (requires(std::ostream& out) { out << value; }) {
    return (Message() << value).text();
  } else if constexpr (requires { value.begin(); }) {
    std::string text = "{";
    std::size_t shown = 0;
    for (const auto& element : value) {
      if (shown++ == 8) return text + " ... of " + std::to_string(value.size()) + " elements}";
      text += (text.size() > 1 ? ", " : "") + printed(element);
    }
    return text + "}";
  } else {
    return "(" + std::to_string(sizeof value) + " bytes)";
  }
}

template <class A, class B, class Holds>
AssertionResult compare(const char* a_text, const char* relation, const char* b_text, const A& a, const B& b,
                        Holds holds) {
  if (holds(a, b)) return AssertionSuccess();
  return AssertionFailure() << a_text << " " << relation << " " << b_text << ": " << printed(a) << " and "
                            << printed(b);
}
/// Equal within 4 units in the last place, as GoogleTest has it; NaN equals nothing.
bool almost_equal(float a, float b);

inline AssertionResult holds(const AssertionResult& result) { return result; }
inline AssertionResult holds(bool result) { return AssertionResult(result); }
inline std::string refusal(const char* text, const char* expected, const AssertionResult& result) {
  return std::string(text) + " is not " + expected + (result.message().empty() ? "" : ": " + result.message());
}

/// The TEST_Ps of a suite, in the order of the source; INSTANTIATE_TEST_SUITE_P follows them in the same file.
template <class Suite>
struct Parameterized {
  using Body = std::pair<std::string, std::unique_ptr<Suite> (*)()>;
  static std::vector<Body>& bodies() {
    static std::vector<Body> all;
    return all;
  }
  static bool add_body(const char* name, std::unique_ptr<Suite> (*make)()) {
    bodies().emplace_back(name, make);
    return true;
  }
  template <class Name>
  static bool instantiate(const std::string& prefix, const std::string& suite,
                          std::vector<typename Suite::ParamType> values, const Name& name_of) {
    using T = typename Suite::ParamType;
    const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
    for (const Body& body : bodies()) {
      for (std::size_t i = 0; i < kept->size(); ++i) {
        const std::string value_name = name_of(TestParamInfo<T>{(*kept)[i], i});
        add(prefix + "/" + suite + "." + body.first + "/" + value_name, [kept, i, make = body.second] {
          std::unique_ptr<Suite> test = make();
          test->set_parameter(&(*kept)[i]);
          return std::unique_ptr<Test>(std::move(test));
        });
      }
    }
    return true;
  }
};

}  // namespace internal

/// [--list] [PATTERN...]: the tests that a pattern (*, ?) matches, all without one; returns the program's exit code:
/// 0, 1 where one failed, 2 where none matches.
int run_tests(int count, char** arguments);

}  // namespace testing

#define OCTAVO_TEST_CLASS(suite, name) suite##_##name##_Test
#define OCTAVO_TEST_JOINED(a, b) a##b
#define OCTAVO_TEST_UNIQUE(a, b) OCTAVO_TEST_JOINED(a, b)

#define TEST(suite, name)                                                                                            \
  class OCTAVO_TEST_CLASS(suite, name) : public ::testing::Test {                                                    \
   public:                                                                                                           \
    void TestBody() override;                                                                                        \
  };                                                                                                                 \
  [[maybe_unused]] const bool suite##_##name##_added =                                                               \
      ::testing::internal::add(#suite "." #name, [] { return std::make_unique<OCTAVO_TEST_CLASS(suite, name)>(); }); \
  void OCTAVO_TEST_CLASS(suite, name)::TestBody()

#define TEST_P(suite, name)                                                                                  \
  class OCTAVO_TEST_CLASS(suite, name) : public suite {                                                      \
   public:                                                                                                   \
    void TestBody() override;                                                                                \
  };                                                                                                         \
  [[maybe_unused]] const bool suite##_##name##_added = ::testing::internal::Parameterized<suite>::add_body(  \
      #name, []() -> std::unique_ptr<suite> { return std::make_unique<OCTAVO_TEST_CLASS(suite, name)>(); }); \
  void OCTAVO_TEST_CLASS(suite, name)::TestBody()

#define INSTANTIATE_TEST_SUITE_P(prefix, suite, ...)     \
  [[maybe_unused]] const bool prefix##_##suite##_added = \
      ::testing::internal::Parameterized<suite>::instantiate(#prefix, #suite, __VA_ARGS__)

#define SCOPED_TRACE(where) \
  const ::testing::internal::Trace OCTAVO_TEST_UNIQUE(octavo_trace_, __LINE__)(::testing::Message() << (where))

// The switch keeps an else of the caller's from binding to this if.
#define OCTAVO_CHECK(result, what, on_failure)                       \
  switch (0)                                                         \
  case 0:                                                            \
  default:                                                           \
    if (const ::testing::AssertionResult octavo_result = (result)) { \
    } else                                                           \
      on_failure ::testing::internal::Failure(__FILE__, __LINE__, what) = ::testing::Message()

#define OCTAVO_CHECK_BOOL(value, text, expected, on_failure)                                                   \
  OCTAVO_CHECK(::testing::internal::holds(value), ::testing::internal::refusal(text, expected, octavo_result), \
               on_failure)
#define OCTAVO_CHECK_NOT(value, text, on_failure)                                                                \
  OCTAVO_CHECK(::testing::AssertionResult(!(value)), ::testing::internal::refusal(text, "false", octavo_result), \
               on_failure)
#define OCTAVO_CHECK_PAIR(a, relation, b, on_failure)                                                      \
  OCTAVO_CHECK(::testing::internal::compare(                                                               \
                   #a, #relation, #b, a, b,                                                                \
                   [](const auto& octavo_a, const auto& octavo_b) { return octavo_a relation octavo_b; }), \
               octavo_result.message(), on_failure)
#define OCTAVO_CHECK_FLOAT(a, b, on_failure)                                                                \
  OCTAVO_CHECK(::testing::internal::compare(#a, "almost ==", #b, a, b, &::testing::internal::almost_equal), \
               octavo_result.message(), on_failure)

#define EXPECT_TRUE(value) OCTAVO_CHECK_BOOL(value, #value, "true", )
#define ASSERT_TRUE(value) OCTAVO_CHECK_BOOL(value, #value, "true", return)
#define EXPECT_FALSE(value) OCTAVO_CHECK_NOT(value, #value, )
#define ASSERT_FALSE(value) OCTAVO_CHECK_NOT(value, #value, return)
#define EXPECT_EQ(a, b) OCTAVO_CHECK_PAIR(a, ==, b, )
#define ASSERT_EQ(a, b) OCTAVO_CHECK_PAIR(a, ==, b, return)
#define EXPECT_NE(a, b) OCTAVO_CHECK_PAIR(a, !=, b, )
#define ASSERT_NE(a, b) OCTAVO_CHECK_PAIR(a, !=, b, return)
#define EXPECT_LT(a, b) OCTAVO_CHECK_PAIR(a, <, b, )
#define EXPECT_LE(a, b) OCTAVO_CHECK_PAIR(a, <=, b, )
#define ASSERT_LE(a, b) OCTAVO_CHECK_PAIR(a, <=, b, return)
#define EXPECT_GT(a, b) OCTAVO_CHECK_PAIR(a, >, b, )
#define EXPECT_GE(a, b) OCTAVO_CHECK_PAIR(a, >=, b, )
#define EXPECT_FLOAT_EQ(a, b) OCTAVO_CHECK_FLOAT(a, b, )
#define ASSERT_NEAR(a, b, bound) OCTAVO_CHECK_PAIR(std::fabs((a) - (b)), <=, bound, return)
