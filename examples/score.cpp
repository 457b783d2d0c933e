// How likely a model finds given targets: the loss that transformers computes from labels, and each label's
// log-probability.
//
//   score examples/fuse-en "He came. He saw." "He came and saw." "He came saw and he."
#include <bertgen/bertgen.hpp>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::cerr << "usage: score DIRECTORY SOURCE TARGET…\n";
    return 2;
  }
  const auto model = bertgen::EncoderDecoderModel::from_pretrained(argv[1]);
  const auto tokenizer = bertgen::AutoTokenizer::from_pretrained(argv[1]);
  bertgen::Workspace workspace;
  for (int i = 3; i < argc; ++i) {
    bertgen::EncoderDecoderInputs inputs;
    inputs.input_ids = {tokenizer->encode(argv[2]).input_ids};
    inputs.labels = {tokenizer->encode(argv[i]).input_ids};
    inputs.labels[0].push_back(model.config().eos_token_id.front());  // the target ends there
    const auto output = model.forward(inputs, workspace);
    std::cout << "loss " << *output.loss << "  " << argv[i] << "\n";
    for (std::size_t j = 0; j < output.label_log_probs.size(); ++j) {
      std::cout << "  " << tokenizer->id_to_token(inputs.labels[0][j]) << " " << output.label_log_probs[j] << "\n";
    }
  }
} catch (const bertgen::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
