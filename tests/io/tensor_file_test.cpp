// TensorFile: the format is told by the content, names are found, and missing ones are answered with those there are.
#include "io/tensor_file.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "io/npy.hpp"
#include "scratch_file.hpp"

namespace octavo::io {
namespace {

TEST(TensorFile, ReadsBothFormatsWhateverTheSuffix) {
  const float values[4] = {1, 2, 3, 4};
  const TensorView view(values, DType::f32, {2, 2});
  const ScratchFile npy(".npy"), odd(".bin"), tensors(".safetensors");
  ASSERT_TRUE(write_tensor(npy.path(), "x", view).ok());
  ASSERT_TRUE(write_npy(odd.path(), view).ok());
  ASSERT_TRUE(write_tensor(tensors.path(), "x", view).ok());
  for (const std::string& path : {npy.path(), odd.path(), tensors.path()}) {
    const Result<TensorFile> file = TensorFile::open(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    ASSERT_EQ(file->list().size(), 1u);
    const Result<Tensor> tensor = file->find("");
    ASSERT_TRUE(tensor.ok()) << tensor.status().message();
    EXPECT_EQ(tensor->name(), file->list()[0].name);
    EXPECT_EQ(std::memcmp(tensor->data(), values, sizeof values), 0);
  }
  EXPECT_EQ(write_tensor("/tmp/x.bin", "x", view).code(), StatusCode::kInvalidArgument);
}

TEST(TensorFile, FindsByNameAndListsTheOthers) {
  const float values[4] = {1, 2, 3, 4};
  const std::vector<NamedView> views = {{"L0.q", TensorView(values, DType::f32, {2})},
                                        {"L0.k", TensorView(values + 2, DType::f32, {2})}};
  const ScratchFile scratch(".safetensors");
  ASSERT_TRUE(write_safetensors(scratch.path(), views, {{"layout", "HND"}}).ok());
  const Result<TensorFile> file = TensorFile::open(scratch.path());
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->metadata("layout"), "HND");
  EXPECT_EQ(file->metadata("scale"), "");
  EXPECT_TRUE(file->contains("L0.k"));
  EXPECT_FALSE(file->contains("L1.k"));
  const Result<Tensor> k = file->find("L0.k");
  ASSERT_TRUE(k.ok());
  EXPECT_EQ(static_cast<const float*>(k->data())[0], 3);
  const Status missing = file->find("L1.k").status();
  EXPECT_NE(missing.message().find("L0.q, L0.k"), std::string::npos) << missing.message();
  EXPECT_EQ(file->find("").status().code(), StatusCode::kFailedPrecondition);
}

TEST(TensorFile, OtherFilesAreRefused) {
  const ScratchFile zip(".npz", "PK\x03\x04 and more"), text(".txt", "hello, world"), empty(".safetensors", ""),
      npy(".npy", "hello, world");
  EXPECT_EQ(TensorFile::open(zip.path()).status().code(), StatusCode::kUnimplemented);
  EXPECT_FALSE(TensorFile::open(text.path()).ok());
  EXPECT_FALSE(TensorFile::open(empty.path()).ok());
  EXPECT_NE(TensorFile::open(npy.path()).status().message().find("magic"), std::string::npos);
}

TEST(TensorFile, StridedAndEmptyViewsBecomeDense) {
  const float values[6] = {0, 1, 2, 3, 4, 5};
  const Result<Tensor> flipped = Tensor::copy_of("x", TensorView(values + 5, DType::f32, {2, 3}, {-3, -1}));
  ASSERT_TRUE(flipped.ok());
  const float expected[6] = {5, 4, 3, 2, 1, 0};
  EXPECT_EQ(std::memcmp(flipped->data(), expected, sizeof expected), 0);
  const Result<Tensor> empty = Tensor::copy_of("x", TensorView(nullptr, DType::f32, {2, 0}));
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->bytes(), 0u);
}

}  // namespace
}  // namespace octavo::io
