// How much the answers of a model change with the type that its products compute in, by the log-probabilities of a
// target.
//
//   types examples/fuse-en "He came. He saw." "He came and saw."
#include <bertgen/bertgen.hpp>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::cerr << "usage: types DIRECTORY SOURCE TARGET\n";
    return 2;
  }
  const auto tokenizer = bertgen::AutoTokenizer::from_pretrained(argv[1]);
  bertgen::EncoderDecoderInputs inputs;
  inputs.input_ids = {tokenizer->encode(argv[2]).input_ids};
  inputs.labels = {tokenizer->encode(argv[3]).input_ids};
  for (const bertgen::DType dtype : {bertgen::DType::f32, bertgen::DType::bf16, bertgen::DType::i8}) {
    bertgen::LoadOptions options;
    options.build.dtype = dtype;
    const auto model = bertgen::EncoderDecoderModel::from_pretrained(argv[1], options);
    bertgen::Workspace workspace;
    std::cout << dtype_name(dtype) << ": loss " << *model.forward(inputs, workspace).loss << ", " << model.bytes()
              << " bytes\n";
  }
} catch (const bertgen::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
