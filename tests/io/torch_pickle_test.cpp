#include "bertgen/io/torch_pickle.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "bertgen/io/safetensors.hpp"
#include "support/errors.hpp"
#include "support/fixture.hpp"
#include "support/torch_files.hpp"

namespace bertgen {
namespace {

using test::global;
using test::integer;
using test::pickle;
using test::TensorCode;
using test::text;
using test::torch_archive;
using test::tuple;
using test::zip;
using namespace std::string_literals;

std::filesystem::path tensors_directory() { return test::data_directory() / "files" / "tensors"; }

std::string bytes_of(const StoredTensor& tensor) {
  const std::size_t size = tensor.shape.size() * size_of(tensor.dtype);
  return size == 0 ? std::string() : std::string(reinterpret_cast<const char*>(tensor.data), size);
}

class TorchPickleTest : public testing::Test {
 protected:
  TorchFormat read(const std::string& bytes) {
    return read_torch_pickle(directory_.write("model.bin", bytes), weights_);
  }
  void expect_refused(const std::string& bytes, std::initializer_list<std::string_view> parts) {
    test::expect_error<CheckpointError>([&] { read(bytes); }, parts);
    EXPECT_TRUE(weights_.tensors().empty());
  }
  /// A dictionary with one entry, "a", which this code makes.
  void expect_value_refused(const std::string& code, std::initializer_list<std::string_view> parts) {
    expect_refused(torch_archive(pickle("}" + text("a") + code + "s")), parts);
  }
  /// The floats that the tensor "a" of `bytes` shows of a storage of floats 0, 1, 2, …
  std::vector<float> floats(const TensorCode& tensor) {
    std::string storage;
    for (int i = 0; i < tensor.elements; ++i) {
      const auto value = static_cast<float>(i);
      storage.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    Weights weights;
    read_torch_pickle(directory_.write("floats.bin", zip({{"m/data.pkl", pickle("}" + text("a") + tensor.code() + "s")},
                                                          {"m/data/0", storage}})),
                      weights);
    const Tensor<float> values = weights.find("a")->to<float>();
    return {values.values().begin(), values.values().end()};
  }

  test::TemporaryDirectory directory_;
  Weights weights_;
};

TEST_F(TorchPickleTest, ReadsWhatTorchWrote) {
  Weights expected;
  read_safetensors(tensors_directory() / "expected.safetensors", expected);
  for (const std::string form : {"zip", "legacy"}) {
    for (const std::string protocol : {"2", "3", "4", "5"}) {
      const std::string file = form + "-" + protocol + ".bin";
      Weights weights;
      const TorchFormat format = read_torch_pickle(tensors_directory() / file, weights);
      EXPECT_EQ(format, form == "zip" ? TorchFormat::zip : TorchFormat::legacy);
      ASSERT_EQ(weights.tensors().size(), expected.tensors().size()) << file;
      for (const auto& [name, tensor] : expected.tensors()) {
        const StoredTensor* found = weights.find(name);
        ASSERT_NE(found, nullptr) << file << ": " << name;
        EXPECT_EQ(dtype_name(found->dtype), dtype_name(tensor.dtype)) << file << ": " << name;
        EXPECT_EQ(to_string(found->shape), to_string(tensor.shape)) << file << ": " << name;
        EXPECT_EQ(bytes_of(*found), bytes_of(tensor)) << file << ": " << name;
      }
      EXPECT_EQ(weights.find("tied")->data, weights.find("plain")->data) << "one storage";
      EXPECT_EQ(weights.find("rows")->data, weights.find("plain")->data + 6 * sizeof(float)) << "a view of it";
      EXPECT_NE(weights.find("transposed")->owner, weights.find("plain")->owner) << "a copy";
    }
  }
}

TEST_F(TorchPickleTest, HonoursOffsetsAndStrides) {
  using Floats = std::vector<float>;
  EXPECT_EQ(floats({}), Floats({0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(floats({.offset = 2, .sizes = {2, 2}, .strides = {2, 1}}), Floats({2, 3, 4, 5}));
  EXPECT_EQ(floats({.sizes = {3, 2}, .strides = {1, 3}}), Floats({0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(floats({.offset = 1, .sizes = {3}, .strides = {2}}), Floats({1, 3, 5}));
  EXPECT_EQ(floats({.sizes = {2, 2}, .strides = {0, 5}}), Floats({0, 5, 0, 5}));
  EXPECT_EQ(floats({.sizes = {1, 6}, .strides = {999, 1}}), Floats({0, 1, 2, 3, 4, 5}))
      << "of one row, no stride counts";
  EXPECT_EQ(floats({.offset = 5, .sizes = {}, .strides = {}}), Floats({5}));
  EXPECT_EQ(floats({.offset = 9, .sizes = {3, 0}, .strides = {7, 7}}), Floats());
}

TEST_F(TorchPickleTest, RefusesTensorsOutsideTheirStorage) {
  const auto expect_outside = [this](const TensorCode& tensor, std::string_view part) {
    expect_refused(torch_archive(tensor), {"model.bin: a: expected ", part});
  };
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  expect_outside({.offset = 1}, "[2, 3] within a storage of 6 elements, got element 6");
  expect_outside({.strides = {4, 1}}, "got element 6");
  expect_outside({.sizes = {7}, .strides = {1}}, "got element 6");
  expect_outside({.offset = most}, "within a storage of 6 elements, got element ");
  expect_outside({.sizes = {most, most}, .strides = {most, most}}, "got element 2^64 or later");
  expect_outside({.sizes = {2, 2, 2}, .strides = {most, most, most}}, "got element 2^64 or later");
  expect_outside({.sizes = {most, most, most}, .strides = {0, 0, 0}}, "got element 2^64 or later");
}

TEST_F(TorchPickleTest, RefusesNegativeNumbers) {
  expect_refused(torch_archive(TensorCode{.offset = -1}), {"a: expected an offset of 0 or more, got the integer -1"});
  expect_refused(torch_archive(TensorCode{.sizes = {-2, 3}}), {"a: expected a size of 0 or more, got the integer -2"});
  expect_refused(torch_archive(TensorCode{.strides = {-3, 1}}),
                 {"a: expected a stride of 0 or more, got the integer -3"});
  expect_refused(torch_archive(TensorCode{.elements = -6}), {"a: expected a storage's size of 0 or more"});
}

TEST_F(TorchPickleTest, RefusesLargeTensorsMadeFromLittle) {
  expect_refused(torch_archive(TensorCode{.sizes = {1 << 30, 4}, .strides = {0, 1}}),
                 {"a: expected copies of elements that lie apart to be no larger than the file, got [1073741824, 4]"});
  std::string many = "}(";
  for (int i = 0; i < 40; ++i) many += text(std::to_string(i)) + TensorCode{.sizes = {1 << 20}, .strides = {0}}.code();
  expect_refused(torch_archive(pickle(many + "u")), {"no larger than the file, got [1048576]"});
}

TEST_F(TorchPickleTest, RefusesStoragesThatAreNotAsLargeAsSaid) {
  expect_refused(torch_archive(TensorCode{}, 20), {"the storage \"0\": expected 24 bytes for 6 of F32, got 20"});
  expect_refused(torch_archive(TensorCode{}, 28), {"expected 24 bytes for 6 of F32, got 28"});
  expect_refused(torch_archive(TensorCode{.type = "DoubleStorage"}), {"expected 48 bytes for 6 of F64, got 24"});
  expect_refused(torch_archive(TensorCode{.key = "1"}), {"expected the storage \"m/data/1\", found none"});
  expect_refused(torch_archive(TensorCode{.elements = std::int64_t{1} << 62}),
                 {"its size of 4611686018427387904 elements overflows"});
  expect_refused(torch_archive(pickle("}(" + text("a") + TensorCode{}.code() + text("b") +
                                      TensorCode{.type = "IntStorage"}.code() + "u")),
                 {"b: expected one type and size of the storage \"0\", got another"});
}

TEST_F(TorchPickleTest, RefusesGlobalsByName) {
  const auto expect_global = [this](const std::string& module, const std::string& name) {
    expect_refused(torch_archive(pickle(global(module, name) + tuple({text("touch owned")}) + "R")),
                   {"model.bin: data.pkl: byte 2: expected only what a dictionary of tensors needs, got the global \"" +
                    module + "." + name + "\""});
  };
  expect_global("os", "system");
  expect_global("posix", "system");
  expect_global("builtins", "eval");
  expect_global("__builtin__", "eval");
  expect_global("torch", "load");
  expect_global("torch", "ComplexFloatStorage");
  expect_global("torch.storage", "UntypedStorage");
  expect_global("torch._utils", "_rebuild_tensor_v3");
  expect_global("", "");
  // The form of protocol 4: both names on the stack.
  expect_refused(torch_archive("\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."),
                 {"got the global \"os.system\""});
  expect_refused(torch_archive("\x80\x04K\x01\x8c\x06system\x93."), {"expected a global's name, got the integer 1"});
}

TEST_F(TorchPickleTest, NamesOfGlobalsAreShownReadably) {
  expect_refused(torch_archive(pickle(global("os\x1b[2J", std::string(5000, 'x')))), {"\"os?[2J.xxx", "xxx…\""});
}

TEST_F(TorchPickleTest, RefusesOpcodesByName) {
  const std::vector<std::pair<std::string, std::string>> codes = {
      {"(ios\nsystem\n", "INST"},
      {"(cos\nsystem\no", "the global \"os.system\""},
      {"(" + global("collections", "OrderedDict") + "o", "OBJ"},
      {global("collections", "OrderedDict") + ")\x81", "NEWOBJ"},
      {global("collections", "OrderedDict") + ")}\x92", "NEWOBJ_EX"},
      {"\x82\x01", "EXT1"},
      {"\x84\x01\x02\x03\x04", "EXT4"},
      {"P0\n", "PERSID"},
      {"I1\n", "INT"},
      {"S'a'\n", "STRING"},
      {"V\n", "UNICODE"},
      {"U\x01x", "SHORT_BINSTRING"},
      {"C\x01x", "SHORT_BINBYTES"},
      {"\x8f", "EMPTY_SET"},
      {"\x97", "NEXT_BUFFER"},
      {"N2", "DUP"},
      {"N0", "POP"},
      {"\xff", "the byte 255, which is no opcode"},
      {std::string(1, '\0'), "the byte 0, which is no opcode"}};
  for (const auto& [code, name] : codes) {
    expect_refused(torch_archive(pickle(code)), {"expected only what a dictionary of tensors needs, got ", name});
  }
}

TEST_F(TorchPickleTest, RefusesStatesOfAnythingButADictionary) {
  expect_value_refused("]}b", {"expected a dictionary to fill, got a list of 0"});
  expect_value_refused(TensorCode{}.code() + "}b", {"expected a dictionary to fill, got a function's result"});
  expect_value_refused(global("torch", "FloatStorage") + "}b", {"got the global \"torch.FloatStorage\""});
  expect_refused(torch_archive(pickle("}Nb")), {"expected a dictionary's attributes, got None"});
}

TEST_F(TorchPickleTest, RefusesCallsOfWhatIsNoFunctionOfItsList) {
  expect_value_refused(text("os.system") + ")R", {"expected a global to call, got the text \"os.system\""});
  expect_value_refused(global("collections", "OrderedDict") + "]R", {"expected a tuple of arguments, got a list"});
  expect_value_refused(global("collections", "OrderedDict") + "N\x85R", {"expected OrderedDict without arguments"});
  expect_value_refused(global("torch", "FloatStorage") + ")R", {"a: expected a tensor, got a function's result"});
  expect_value_refused(TensorCode{}.code() + ")R", {"expected a global to call, got a function's result"});
}

TEST_F(TorchPickleTest, RefusesWhatIsNoDictionaryOfTensors) {
  expect_refused(torch_archive(pickle("]")), {"data.pkl: expected a dictionary of tensors, got a list of 0"});
  expect_refused(torch_archive(pickle(TensorCode{}.code())), {"expected a dictionary of tensors, got a function's"});
  expect_refused(torch_archive(pickle("}K\x01Ns")), {"expected the name of a tensor, got the integer 1"});
  expect_value_refused("N", {"a: expected a tensor, got None"});
  expect_value_refused("}", {"a: expected a tensor, got a dictionary of 0"});
  expect_value_refused("G12345678", {"a: expected a tensor, got a float"});
  expect_value_refused(text("x"), {"a: expected a tensor, got the text \"x\""});
  expect_value_refused(TensorCode{.hooks = "N"}.code(), {"a: expected a tensor without hooks, got None"});
  expect_value_refused(TensorCode{.hooks = "}K\x01Ns"}.code(), {"without hooks, got a dictionary of 1"});
  expect_value_refused(TensorCode{.more = "}" + text("neg") + "\x88s"}.code(), {"without metadata"});
  expect_value_refused(TensorCode{.more = "NN"}.code(), {"made from 6 arguments, got a tuple of 8"});
  expect_value_refused(TensorCode{.sizes = {1, 1, 1, 1, 1}, .strides = {1, 1, 1, 1, 1}}.code(),
                       {"at most 4 dimensions"});
  expect_value_refused(TensorCode{.sizes = {1, 1}, .strides = {1}}.code(), {"a tuple of 2 strides, got a tuple of 1"});
  expect_refused(torch_archive(pickle("}(" + text("a") + TensorCode{}.code() + text("a") + TensorCode{}.code() + "u")),
                 {"a: expected it once, got it twice"});
}

TEST_F(TorchPickleTest, RefusesParametersThatAreNone) {
  const std::string parameter = global("torch._utils", "_rebuild_parameter");
  expect_value_refused(parameter + ")R", {"a: expected a parameter made from 3 arguments, got a tuple of 0"});
  expect_value_refused(parameter + "N\x88}\x87R", {"a: expected a tensor, got None"});
  const std::string once = parameter + TensorCode{}.code() + "\x88}\x87R";
  expect_value_refused(parameter + once + "\x88}\x87R", {"a: expected a tensor, got a function's result"});
  read(torch_archive(pickle("}" + text("a") + once + "s")));
  EXPECT_EQ(bytes_of(*weights_.find("a")).size(), 24u);
}

TEST_F(TorchPickleTest, RefusesStoragesThatAreNone) {
  const std::string rebuild = global("torch._utils", "_rebuild_tensor_v2");
  const auto expect_storage = [&](const std::string& id, std::string_view part) {
    expect_value_refused(rebuild + tuple({id + "Q", "K\x00"s, ")", ")", "\x89", "}"}) + "R", {"a: expected ", part});
  };
  const std::string type = global("torch", "FloatStorage");
  expect_storage("N", "a storage described by 5 values, got None");
  expect_storage(")", "a storage described by 5 values, got a tuple of 0");
  expect_storage(tuple({text("module"), type, text("0"), text("cpu"), integer(6)}),
                 "a storage, got the text \"module\"");
  expect_storage(tuple({text("storage"), text("x"), text("0"), text("cpu"), integer(6)}), "a storage's class, got");
  expect_storage(tuple({text("storage"), rebuild, text("0"), text("cpu"), integer(6)}), "a storage's class, got");
  expect_storage(tuple({text("storage"), type, integer(0), text("cpu"), integer(6)}), "a storage's key, got");
  expect_value_refused(rebuild + tuple({"N", integer(0), ")", ")", "\x89", "}"}) + "R",
                       {"a: expected a storage, got None"});
}

TEST_F(TorchPickleTest, RefusesStacksThatDoNotFit) {
  expect_refused(torch_archive(pickle("")), {"byte 2: expected a value on the stack, got none"});
  expect_refused(torch_archive(pickle("NN")), {"expected one value at the end, got more"});
  expect_refused(torch_archive(pickle("N(")), {"expected a value on the stack, got none"});
  expect_refused(torch_archive(pickle("(N")), {"expected one value at the end, got more"});
  expect_refused(torch_archive(pickle("t")), {"expected a mark, got none"});
  expect_refused(torch_archive(pickle("N(\x86")), {"expected 2 values on the stack, got fewer"});
  expect_refused(torch_archive(pickle("}(Nu")), {"expected pairs of keys and values, got an odd number"});
  expect_refused(torch_archive(pickle("h\x05")), {"expected a value with the number 5, found none"});
  expect_refused(torch_archive(pickle("q\x05")), {"expected a value on the stack, got none"});
  expect_refused(torch_archive(pickle("}N.")), {"expected one value at the end"});
  expect_refused(torch_archive(pickle("}") + "x"), {"data.pkl: expected one pickle, got bytes after it"});
}

TEST_F(TorchPickleTest, RefusesOtherProtocols) {
  for (const char* begin : {"\x80\x01", "\x80\x06", "\x80\xff"}) {
    expect_refused(torch_archive(begin + std::string("}.")), {"expected a pickle of protocol 2 to 5, got "});
  }
  expect_refused(torch_archive("(dp0\n."), {"expected a pickle of protocol 2 or later"});
  expect_refused(torch_archive(std::string("\x80\x04\x95") + test::number(1u << 30, 8) + "}."),
                 {"expected a frame within the file, got a longer one"});
}

TEST_F(TorchPickleTest, CyclesAndDeepNestingAreHarmless) {
  expect_refused(torch_archive(pickle("]q\x01h\x01"
                                      "a")),
                 {"expected a dictionary of tensors, got a list of 1"});
  expect_refused(torch_archive(pickle("}q\x01" + text("a") + "h\x01s")),
                 {"a: expected a tensor, got a dictionary of 1"});
  expect_value_refused(std::string(1'000'000, ']') + std::string(999'999, 'a'), {"a: expected a tensor, got a list"});
  std::string deep = "N";
  for (int i = 0; i < 1'000'000; ++i) deep += '\x85';
  expect_value_refused(deep, {"a: expected a tensor, got a tuple of 1"});
}

TEST_F(TorchPickleTest, ValuesAreLimited) {
  const std::size_t many = (std::size_t{4} << 20) + 1;
  expect_refused(torch_archive(pickle("(" + std::string(many, 'N') + "t")),
                 {"expected at most 4194304 values, got more"});
  std::string doubling = "}q\x01";
  for (int i = 0; i < 100; ++i) doubling += "h\x01h\x01\x86q\x01";  // 2^100 leaves, 100 values
  expect_refused(torch_archive(pickle("0")), {"POP"});
  expect_refused(torch_archive(pickle("(" + doubling + "t")), {"expected a dictionary of tensors"});
  expect_refused(torch_archive(pickle("Nr\xff\xff\xff\xff")), {"got None"});
}

TEST_F(TorchPickleTest, RefusesLengthsThatPassTheEnd) {
  for (const std::string code : {"X\xff\xff\xff\xff"
                                 "a",
                                 "\x8c\xff"
                                 "a",
                                 "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                                 "a",
                                 "\x8a\xff"
                                 "a",
                                 "cos", "cos\nsystem", "J\x01", "K", "M\x01", "G\x01", "r\x01"}) {
    expect_refused(torch_archive("\x80\x02" + code), {"expected a pickle that ends, got one that is cut off"});
  }
}

TEST_F(TorchPickleTest, ReadsEveryFormOfArchive) {
  const std::string data = pickle("}" + text("a") + TensorCode{}.code() + "s");
  const std::string storage(24, 'x');
  for (const bool wide_end : {false, true}) {
    for (const bool wide : {false, true}) {
      for (const bool descriptor : {false, true}) {
        Weights weights;
        read_torch_pickle(
            directory_.write("form.bin",
                             zip({{.name = "m/data.pkl", .data = data, .descriptor = descriptor, .wide = wide},
                                  {.name = "m/data/0", .data = storage, .descriptor = descriptor, .wide = wide}},
                                 wide_end)),
            weights);
        EXPECT_EQ(bytes_of(*weights.find("a")), storage);
      }
    }
  }
}

TEST_F(TorchPickleTest, RefusesArchivesThatLie) {
  const std::string data = pickle("}" + text("a") + TensorCode{}.code() + "s");
  const std::string storage(24, 'x');
  const auto expect_lie = [&](test::ZipMember member, std::string_view part) {
    member.name = "m/data/0";
    if (member.data.empty()) member.data = storage;
    for (const bool wide : {false, true}) {
      member.wide = wide;
      expect_refused(zip({{"m/data.pkl", data}, member}), {"model.bin: the member \"m/data/0\": ", part});
      expect_refused(zip({{"m/data.pkl", data}, member}, false), {"model.bin: the member \"m/data/0\": ", part});
    }
  };
  expect_lie({.size_error = 1}, "expected 25 bytes, as the directory says, got 24");
  expect_lie({.size_error = -1}, "expected 23 bytes, as the directory says, got 24");
  expect_lie({.local_size_error = 1}, "expected 24 bytes, as the directory says, got 25");
  expect_lie({.size_error = 100, .local_size_error = 100}, "expected 124 bytes before the directory, got 24");
  expect_lie({.size_error = 1, .descriptor = true}, "expected its size behind its data, as the directory says");
  expect_lie({.size_error = -1, .descriptor = true}, "expected its size behind its data");
  expect_lie({.local_size_error = 1, .descriptor = true}, "expected its size behind its data");
  expect_lie({.offset_error = 1}, "expected it before the directory, got byte ");
  expect_lie({.offset_error = 1 << 20}, "expected it before the directory");
  expect_lie({.local_name = "m/data/1"}, "expected the header that the directory says, got another");
  expect_lie({.method = 8}, "expected a stored member, as torch.save writes it, got one compressed by method 8");
  expect_lie({.flags = 1}, "expected plain data, got encrypted data");
}

TEST_F(TorchPickleTest, RefusesMembersThatOverlapOrRepeat) {
  const std::string data = pickle("}");
  const auto step = static_cast<std::int64_t>(30 + 10 + data.size());
  expect_refused(zip({{"m/data.pkl", data}, {.name = "m/data.pkl", .data = data, .offset_error = -step}}),
                 {"m/data.pkl", "overlap"});
  expect_refused(zip({{"m/data.pkl", data}, {"m/data.pkl", data}}), {"expected each name once, got it twice"});
  // A member inside another's data.
  const std::string inner = "PK\x03\x04" + test::number(20, 2) + test::number(0, 8) + test::number(0, 4) +
                            test::number(1, 4) + test::number(1, 4) + test::number(8, 2) + test::number(0, 2) +
                            "m/data/1" + "y";
  const auto back = static_cast<std::int64_t>(inner.size());
  expect_refused(
      zip({{"m/data/0", inner}, {.name = "m/data/1", .data = "y", .offset_error = -back}, {"m/data.pkl", data}}),
      {"\"m/data/0\": expected it to end before \"m/data/1\" begins, got an overlap"});
}

TEST_F(TorchPickleTest, RefusesArchivesOfAnotherKind) {
  expect_refused(zip({}), {"expected a file of torch.save, got a zip archive without data.pkl"});
  expect_refused(zip({{"data.pkl", pickle("}")}}), {"without data.pkl"});
  expect_refused(zip({{"a/data.pkl", pickle("}")}, {"b/data.pkl", pickle("}")}}), {"expected one data.pkl, got "});
  expect_refused(zip({{"m/data.pkl", pickle("}")}, {"m/byteorder", "big"}}),
                 {"byteorder: expected \"little\", got \"big\""});
}

TEST_F(TorchPickleTest, RefusesWhatIsNoFileOfTorch) {
  expect_refused("", {"model.bin: expected a file of torch.save"});
  expect_refused("{\"a\": 1}", {"expected a file of torch.save, got one that begins otherwise"});
  expect_refused(pickle("}"), {"expected a file of torch.save, got one that begins otherwise"});
  expect_refused("PK", {"expected a whole zip archive"});
  expect_refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", {"got a pointer of Git LFS"});
  test::expect_error<CheckpointError>([this] { read_torch_pickle(directory_.path() / "none", weights_); },
                                      {"none: expected a readable file"});
}

/// A legacy file, with parts to replace.
struct Legacy {
  std::string magic = pickle(std::string("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12));
  std::string version = pickle("M\xe9\x03");
  std::string machine = pickle("}" + text("little_endian") + "\x88s");
  std::string view = "N";
  std::int64_t elements = 6;
  std::string keys = pickle("]" + text("0") + "a");
  std::string storages = little_endian_size(6) + std::string(24, 'x');

  static std::string little_endian_size(std::uint64_t size) { return test::number(size, 8); }
  std::string bytes() const {
    const std::string storage =
        tuple({text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"), integer(elements), view});
    const std::string tensor =
        global("torch._utils", "_rebuild_tensor_v2") +
        tuple({storage + "Q", integer(0), test::integers({2, 3}), test::integers({3, 1}), "\x89", "}"}) + "R";
    return magic + version + machine + pickle("}" + text("a") + tensor + "s") + keys + storages;
  }
};

TEST_F(TorchPickleTest, ReadsLegacyFilesWhereverTheyStand) {
  EXPECT_EQ(read(Legacy{}.bytes()), TorchFormat::legacy);
  EXPECT_EQ(bytes_of(*weights_.find("a")), std::string(24, 'x'));
}

TEST_F(TorchPickleTest, RefusesLegacyFilesThatLie) {
  const std::string size = Legacy::little_endian_size(6);
  const std::string data(24, 'x');
  expect_refused(Legacy{.version = pickle("K\x01")}.bytes(), {"the version: expected 1001, got the integer 1"});
  expect_refused(Legacy{.machine = pickle("}" + text("little_endian") + "\x89s")}.bytes(),
                 {"the machine: expected little_endian True, got False"});
  expect_refused(Legacy{.machine = pickle("}")}.bytes(), {"the machine: expected little_endian, found none"});
  expect_refused(Legacy{.machine = pickle("]")}.bytes(), {"the machine: expected a dictionary, got a list"});
  expect_refused(Legacy{.view = tuple({text("0"), integer(0), integer(6)})}.bytes(),
                 {"a storage that is no view of another"});
  expect_refused(Legacy{.keys = pickle("}")}.bytes(), {"the storages' keys: expected a list, got a dictionary"});
  expect_refused(Legacy{.keys = pickle("]")}.bytes(), {"expected 1 storages, got 0"});
  expect_refused(Legacy{.keys = pickle("]K\x01"
                                       "a")}
                     .bytes(),
                 {"expected one that a tensor has, got the integer 1"});
  expect_refused(
      Legacy{.keys = pickle("](" + text("0") + text("1") + "e"), .storages = size + data + size + data}.bytes(),
      {"expected one that a tensor has, got the text \"1\""});
  expect_refused(
      Legacy{.keys = pickle("](" + text("0") + text("0") + "e"), .storages = size + data + size + data}.bytes(),
      {"expected each once, got the text \"0\" twice"});
  expect_refused(Legacy{.storages = size + data + "x"}.bytes(), {"up to the end of the file, got 1 bytes more"});
  expect_refused(Legacy{.storages = size + data.substr(1)}.bytes(),
                 {"the storage \"0\": expected 24 bytes", "(truncated?)"});
  expect_refused(Legacy{.storages = "1234567"}.bytes(), {"got 7 to the end of the file (truncated?)"});
  expect_refused(Legacy{.storages = Legacy::little_endian_size(7) + data}.bytes(), {"expected 6 elements, got 7"});
  expect_refused(
      Legacy{.elements = std::int64_t{1} << 61, .storages = Legacy::little_endian_size(std::uint64_t{1} << 61) + data}
          .bytes(),
      {"\"0\": expected 9223372036854775808 bytes"});
}

TEST_F(TorchPickleTest, RefusesNamesThatAreThereAlready) {
  read(torch_archive(TensorCode{}));
  test::expect_error<CheckpointError>([this] { read(torch_archive(TensorCode{})); },
                                      {"a: expected a name that no other file has"});
}

}  // namespace
}  // namespace bertgen
