// What a program of someone else's does with the library, in all types that it computes in. Every bit of the scores is
// printed, so that builds of this file can be compared.
#include <Eigen/Core>
#include <bertgen/bertgen.hpp>
#include <iostream>

namespace {

template <typename T>
void generate(const std::string& directory, const std::string& text, int beams) {
  const auto model = bertgen::BasicEncoderDecoderModel<T>::from_pretrained(directory);
  const auto tokenizer = bertgen::AutoTokenizer::from_pretrained(directory);
  bertgen::GenerationConfig config = model.generation_config();
  config.num_beams = beams;
  const auto output = model.generate({tokenizer->encode(text).input_ids}, config);
  const auto& sequence = output.sequences[0];
  std::cout << tokenizer->decode(sequence.ids, {.skip_special_tokens = true}) << std::hexfloat << " " << sequence.score
            << "\n";
}

/// A product of the program's own on Eigen, in the type that the library multiplies by Eigen: neither may run the
/// other's code, which other flags compiled.
template <typename T>
bool multiplies(Eigen::Index size) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Matrix ones = Matrix::Ones(size, size);
  const Matrix product = ones * ones.transpose();
  return product == Matrix::Constant(size, size, static_cast<T>(size));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || !multiplies<double>(100) || !multiplies<float>(100)) return 2;
  const std::string text = "John lives in Paris. He works for a bank.";
  generate<float>(argv[1], text, 1);
  generate<float>(argv[1], text, 4);
  generate<double>(argv[1], text, 1);
  generate<double>(argv[1], text, 4);
  try {
    bertgen::EncoderDecoderModel::from_pretrained("no such directory");
  } catch (const bertgen::CheckpointError& error) {  // an exception that crosses the library's border by its type
    std::cout << error.what() << "\n";
  }
}
