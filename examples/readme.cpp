#include <bertgen/bertgen.hpp>
#include <iostream>

int main(int argc, char** argv) {
  const std::string directory = argc > 1 ? argv[1] : "examples/fuse-en";
  const auto model = bertgen::EncoderDecoderModel::from_pretrained(directory);
  const auto tokenizer = bertgen::AutoTokenizer::from_pretrained(directory);
  const auto source = tokenizer->encode("This is the first sentence. This is the second sentence.");
  const auto output = model.generate({source.input_ids});
  std::cout << tokenizer->decode(output.sequences[0].ids, {.skip_special_tokens = true}) << "\n";
}
