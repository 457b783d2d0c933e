#include "bertgen/io/safetensors.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "support/errors.hpp"
#include "support/files.hpp"

namespace bertgen {
namespace {

using test::safetensors;
using Json = nlohmann::json;

class SafetensorsTest : public testing::Test {
 protected:
  SafetensorsMetadata read(const std::string& bytes) {
    return read_safetensors(directory_.write("model.safetensors", bytes), weights_);
  }
  /// Reads a header of these entries before `data` zero bytes.
  SafetensorsMetadata read_entries(const Json& header, std::size_t data) {
    return read(safetensors(header.dump(), std::string(data, '\0')));
  }
  /// Expects an error with the file's name and `parts`, and that nothing was added.
  void expect_refused(const std::string& bytes, std::initializer_list<std::string_view> parts) {
    test::expect_error<CheckpointError>([&] { read(bytes); }, parts);
    test::expect_error<CheckpointError>([&] { read(bytes); }, {"model.safetensors: "});
    EXPECT_TRUE(weights_.tensors().empty());
  }
  void expect_entries_refused(const Json& header, std::size_t data, std::initializer_list<std::string_view> parts) {
    expect_refused(safetensors(header.dump(), std::string(data, '\0')), parts);
  }

  test::TemporaryDirectory directory_;
  Weights weights_{"file"};
};

Json entry(const Json& dtype, const Json& shape, const Json& begin, const Json& end) {
  return {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, end}}};
}

TEST_F(SafetensorsTest, ReadsTensorsOfEveryType) {
  const std::pair<const char*, DType> types[] = {
      {"BOOL", DType::boolean}, {"U8", DType::u8},     {"I8", DType::i8},   {"U16", DType::u16}, {"I16", DType::i16},
      {"F16", DType::f16},      {"BF16", DType::bf16}, {"U32", DType::u32}, {"I32", DType::i32}, {"F32", DType::f32},
      {"U64", DType::u64},      {"I64", DType::i64},   {"F64", DType::f64}};
  test::SafetensorsBuilder file;
  for (const auto& [name, dtype] : types) file.add(name, name, {3}, std::string(3 * size_of(dtype), 'x'));
  read(file.bytes());
  for (const auto& [name, dtype] : types) {
    ASSERT_NE(weights_.find(name), nullptr) << name;
    EXPECT_EQ(weights_.find(name)->dtype, dtype);
    EXPECT_EQ(weights_.find(name)->shape, Shape{3});
  }
}

TEST_F(SafetensorsTest, ReadsShapesAndValues) {
  test::SafetensorsBuilder file;
  file.add("b", "F32", {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  file.add("a", "F64", {}, std::vector<double>{0.5});
  read(file.bytes());
  EXPECT_EQ(weights_.get("b", {2, 3}).to<float>().values(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(weights_.get("a", {}).to<double>()[0], 0.5);
}

TEST_F(SafetensorsTest, ValuesOutliveTheReaderAndMayBeUnaligned) {
  test::SafetensorsBuilder file;
  file.add("a", "U8", {1}, "x");
  file.add("b", "F32", {2}, std::vector<float>{1.5f, -2});
  StoredTensor tensor;
  {
    Weights weights;
    read_safetensors(directory_.write("x", file.bytes()), weights);
    tensor = *weights.find("b");
  }
  EXPECT_EQ(tensor.to<float>().values(), (std::vector<float>{1.5f, -2}));
}

TEST_F(SafetensorsTest, ReleasedRowsKeepTheirValuesMappedOrCopied) {
  const std::vector<float> values(64 * 1024, 1.5f);  // many pages
  test::SafetensorsBuilder builder;
  builder.add("a", "F32", {64, 1024}, values);
  const auto path = directory_.write("model.safetensors", builder.bytes());
  for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
    Weights weights("file");
    read_safetensors(path, weights, access);
    const StoredTensor& tensor = *weights.find("a");
    EXPECT_EQ(tensor.mapped, access == FileAccess::map);
    tensor.release(0, 64);
    EXPECT_EQ(tensor.to<float>().values(), values);
  }
}

TEST_F(SafetensorsTest, ReturnsTheMetadata) {
  test::SafetensorsBuilder file;
  file.add_metadata("format", "pt");
  file.add_metadata("encoder.x", "decoder.x");
  EXPECT_EQ(read(file.bytes()), (SafetensorsMetadata{{"encoder.x", "decoder.x"}, {"format", "pt"}}));
  EXPECT_TRUE(weights_.tensors().empty());
}

TEST_F(SafetensorsTest, HeaderMayBePaddedWithSpaces) {
  read(safetensors(entry("F32", {1}, 0, 4).dump().insert(0, "{\"a\":") + "}     ", std::string(4, '\0')));
  EXPECT_TRUE(weights_.contains("a"));
}

TEST_F(SafetensorsTest, NoTensorsAreNoError) {
  read(safetensors("{}"));
  read(safetensors(R"({"__metadata__":{}})"));
  EXPECT_TRUE(weights_.tensors().empty());
}

TEST_F(SafetensorsTest, TensorsWithoutElementsTakeNoBytes) {
  read_entries({{"a", entry("F32", {0}, 0, 0)},
                {"b", entry("F32", {2, 0, 3}, 0, 0)},
                {"c", entry("F32", {1}, 0, 4)},
                {"d", entry("I64", {0}, 4, 4)}},
               4);
  EXPECT_EQ(weights_.get("b", {2, 0, 3}).to<float>().size(), 0u);
}

TEST_F(SafetensorsTest, RefusesFilesWithoutAHeader) {
  expect_refused("", {"at least 8 bytes, got 0"});
  expect_refused("1234567", {"at least 8 bytes, got 7"});
}

TEST_F(SafetensorsTest, RefusesHeadersLongerThanTheFile) {
  const std::uint64_t lengths[] = {1, 100'000'001, std::uint64_t{1} << 63, std::numeric_limits<std::uint64_t>::max(),
                                   std::numeric_limits<std::uint64_t>::max() - 7};
  for (std::uint64_t length : lengths) {
    expect_refused(test::little_endian(length), {"within the file's 8 bytes", "got one of " + std::to_string(length)});
  }
  expect_refused(test::little_endian(3) + "{}", {"within the file's 10 bytes, got one of 3 (truncated"});
}

TEST_F(SafetensorsTest, RefusesHeadersOver100Megabytes) {
  const auto path = directory_.write("large.safetensors", test::little_endian(100'000'001) + "{}");
  std::filesystem::resize_file(path, 110'000'000);  // sparse
  test::expect_error<CheckpointError>([&] { read_safetensors(path, weights_); }, {"got one of 100000001"});
}

TEST_F(SafetensorsTest, RefusesHeadersThatAreNoJson) {
  for (const std::string& header :
       {std::string(), std::string("{"), std::string("{\"a\":}"), std::string("{} {}"), std::string("\xff\xfe"),
        std::string("{}\0garbage", 10), std::string("{\"a\": 1e999}"), std::string("{\"\xc3\": 1}")}) {
    expect_refused(safetensors(header), {"header: "});
  }
}

TEST_F(SafetensorsTest, RefusesHeadersThatAreNoObject) {
  for (const char* header : {"[]", "3", "null", "\"x\"", "true"}) {
    expect_refused(safetensors(header), {"header: expected an object, got ", header});
  }
}

TEST_F(SafetensorsTest, RefusesDuplicateKeys) {
  const std::string tensor = entry("F32", {1}, 0, 4).dump();
  expect_refused(safetensors("{\"a\":" + tensor + ",\"a\":" + tensor + "}", "1234"),
                 {"each key once, got \"a\" twice"});
  expect_refused(safetensors(R"({"a":{"dtype":"F32","dtype":"F64","shape":[1],"data_offsets":[0,4]}})", "1234"),
                 {"got \"dtype\" twice"});
  expect_refused(safetensors(R"({"__metadata__":{"x":"1","x":"2"}})"), {"got \"x\" twice"});
}

TEST_F(SafetensorsTest, SameKeyInTwoTensorsIsNoDuplicate) {
  read_entries({{"a", entry("F32", {1}, 0, 4)}, {"b", entry("F32", {1}, 4, 8)}}, 8);
  EXPECT_EQ(weights_.tensors().size(), 2u);
}

TEST_F(SafetensorsTest, RefusesDeepNesting) {
  expect_refused(safetensors(std::string(200'000, '[') + std::string(200'000, ']')), {"levels of nesting"});
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"a\":";
  expect_refused(safetensors(objects), {"levels of nesting"});
}

TEST_F(SafetensorsTest, RefusesEntriesOfTheWrongForm) {
  const Json whole = entry("F32", {1}, 0, 4);
  std::vector<Json> wrong = {3, nullptr, "x", Json::array(), Json::object()};
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    wrong.push_back(whole);
    wrong.back().erase(key);
    for (const Json& value : {Json(nullptr), Json(1), Json::object(), Json::array({Json::array()})}) {
      wrong.push_back(whole);
      wrong.back()[key] = value;
    }
  }
  for (const Json& offsets : {Json::array(), Json::array({0}), Json::array({0, 4, 4}), Json::array({0, "4"}),
                              Json::array({-4, 0}), Json::array({0, 4.0}), Json::array({0, 1e30})}) {
    wrong.push_back(whole);
    wrong.back()["data_offsets"] = offsets;
  }
  for (const Json& value : wrong) {
    SCOPED_TRACE(value.dump());
    expect_entries_refused({{"a", value}}, 4, {"a: expected dtype, shape and two data_offsets, got "});
  }
}

TEST_F(SafetensorsTest, RefusesUnknownTypes) {
  for (const char* type : {"F8_E4M3", "f32", "", "C64", "F32 "}) {
    expect_entries_refused({{"a", entry(type, {1}, 0, 4)}}, 4,
                           {"a: expected a type this library knows, got \"" + std::string(type) + "\""});
  }
}

TEST_F(SafetensorsTest, RefusesSizesThatAreNoCounts) {
  for (const Json& extent : {Json(-1), Json(1.5), Json(1.0), Json("1"), Json(nullptr), Json(true), Json(1e25)}) {
    expect_entries_refused({{"a", entry("F32", {extent}, 0, 4)}}, 4, {"a: expected dtype, shape"});
  }
}

TEST_F(SafetensorsTest, RefusesSizesThatOverflow) {
  const std::uint64_t half = std::uint64_t{1} << 63;
  for (const Json& shape : {Json{half}, Json{half, 2}, Json{half, half}, Json{1u << 31, 1u << 31, 4},
                            Json{std::numeric_limits<std::uint64_t>::max()}}) {
    expect_entries_refused({{"a", entry("F32", shape, 0, 4)}}, 4, {"a: its shape ", "overflows"});
  }
}

TEST_F(SafetensorsTest, RefusesFiveDimensions) {
  expect_entries_refused({{"a", entry("F32", {1, 1, 1, 1, 1}, 0, 4)}}, 4, {"a: expected at most 4 dimensions"});
}

TEST_F(SafetensorsTest, RefusesOffsetsThatDoNotFitTheShape) {
  expect_entries_refused({{"a", entry("F32", {2}, 0, 4)}}, 4, {"a: expected 8 bytes for F32 [2], got 4"});
  expect_entries_refused({{"a", entry("F32", {2}, 0, 12)}}, 12, {"a: expected 8 bytes for F32 [2], got 12"});
  expect_entries_refused({{"a", entry("F32", {0}, 0, 4)}}, 4, {"a: expected 0 bytes for F32 [0], got 4"});
}

TEST_F(SafetensorsTest, RefusesOffsetsOutsideTheFile) {
  expect_entries_refused({{"a", entry("F32", {1}, 4, 0)}}, 4, {"a: expected data within the 4 bytes", "got [4,0]"});
  expect_entries_refused({{"a", entry("F32", {2}, 0, 8)}}, 4, {"a: expected data within the 4 bytes", "(truncated?)"});
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  expect_entries_refused({{"a", entry("F32", {1}, most - 3, most)}}, 4, {"a: expected data within"});
  expect_entries_refused({{"a", entry("F32", {1}, most - 3, 0)}}, 4, {"a: expected data within"});
}

TEST_F(SafetensorsTest, RefusesTensorsThatOverlap) {
  expect_entries_refused({{"a", entry("F32", {2}, 0, 8)}, {"b", entry("F32", {1}, 4, 8)}}, 8,
                         {"b: expected its data at byte 8, got 4 (overlap)"});
  expect_entries_refused({{"a", entry("F32", {1}, 0, 4)}, {"b", entry("F32", {1}, 0, 4)}}, 4, {"(overlap)"});
}

TEST_F(SafetensorsTest, RefusesGaps) {
  expect_entries_refused({{"a", entry("F32", {1}, 4, 8)}}, 8, {"a: expected its data at byte 0, got 4 (gap)"});
  expect_entries_refused({{"a", entry("F32", {1}, 0, 4)}, {"b", entry("F32", {1}, 8, 12)}}, 12,
                         {"b: expected its data at byte 4, got 8 (gap)"});
}

TEST_F(SafetensorsTest, RefusesBytesBehindTheLastTensor) {
  expect_entries_refused({{"a", entry("F32", {1}, 0, 4)}}, 7, {"up to the end of the file, got 3 bytes more"});
  expect_entries_refused(Json::object(), 1, {"got 1 bytes more"});
}

TEST_F(SafetensorsTest, RefusesMetadataThatIsNoText) {
  for (const Json& metadata : {Json(3), Json::array(), Json("x"), Json(nullptr)}) {
    expect_entries_refused({{"__metadata__", metadata}}, 0, {"__metadata__: expected an object of strings, got "});
  }
  expect_entries_refused({{"__metadata__", {{"x", 3}}}}, 0, {"__metadata__.x: expected a string, got 3"});
}

TEST_F(SafetensorsTest, LongValuesAreCutInErrors) {
  try {
    read_entries({{"a", std::string(100'000, 'x')}}, 0);
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_LT(std::string(error.what()).size(), 500u);
  }
}

TEST_F(SafetensorsTest, RefusesNamesThatAreThereAlready) {
  read_entries({{"a", entry("F32", {1}, 0, 4)}}, 4);
  test::expect_error<CheckpointError>(
      [this] {
        read_entries({{"b", entry("F32", {1}, 0, 4)}, {"a", entry("F32", {1}, 4, 8)}}, 8);
      },
      {"a: expected a name that no other file has"});
  EXPECT_FALSE(weights_.contains("b"));
}

TEST_F(SafetensorsTest, RefusesWhatIsNoFile) {
  test::expect_error<CheckpointError>([this] { read_safetensors(directory_.path() / "none", weights_); },
                                      {"none: expected a readable file: No such file"});
  test::expect_error<CheckpointError>([this] { read_safetensors(directory_.path(), weights_); },
                                      {directory_.path().string() + ": expected a regular file"});
  const auto pipe = directory_.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  test::expect_error<CheckpointError>([&] { read_safetensors(pipe, weights_); }, {"pipe: expected a regular file"});
  test::expect_error<CheckpointError>([this] { read_safetensors("/dev/null", weights_); }, {"expected a regular file"});
}

TEST_F(SafetensorsTest, FollowsLinks) {
  directory_.write("real", safetensors("{}"));
  std::filesystem::create_symlink("real", directory_.path() / "link");
  read_safetensors(directory_.path() / "link", weights_);
}

TEST_F(SafetensorsTest, DamagedFilesNeverCrash) {
  test::SafetensorsBuilder file;
  file.add("encoder.weight", "F32", {2, 2}, std::vector<float>{1, 2, 3, 4});
  file.add("encoder.bias", "F16", {3}, "abcdef");
  file.add_metadata("format", "pt");
  const std::string whole = file.bytes();
  const auto attempt = [this](const std::string& bytes) {
    Weights weights;
    try {
      read_safetensors(directory_.write("damaged", bytes), weights);
    } catch (const CheckpointError&) {
      EXPECT_TRUE(weights.tensors().empty());
    }
  };
  for (std::size_t length = 0; length < whole.size(); ++length) attempt(whole.substr(0, length));
  for (std::size_t place = 0; place < whole.size(); ++place) {
    for (const char byte : {'\0', '\xff', '"', '9', '{'}) {
      std::string bytes = whole;
      bytes[place] = byte;
      attempt(bytes);
    }
  }
}

}  // namespace
}  // namespace bertgen
