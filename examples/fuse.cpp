// Fuses each line of standard input with a few alternatives: a session that is kept, options, n-best answers.
//
//   printf 'John lives in Paris. He works for a bank.\n' | fuse examples/fuse-en
#include <bertgen/bertgen.hpp>
#include <iostream>

int main(int argc, char** argv) try {
  const std::string directory = argc > 1 ? argv[1] : "examples/fuse-en";
  const auto model =
      std::make_shared<const bertgen::EncoderDecoderModel>(bertgen::EncoderDecoderModel::from_pretrained(directory));
  const auto tokenizer = bertgen::AutoTokenizer::from_pretrained(directory);
  bertgen::Session session(model);  // one a thread; the model is shared

  bertgen::GenerationConfig config = model->generation_config();
  config.num_beams = 4;
  config.num_return_sequences = 3;
  for (std::string line; std::getline(std::cin, line);) {
    const bertgen::Encoding source = tokenizer->encode(line);
    if (source.input_ids.empty()) continue;
    bertgen::GenerateInputs inputs;
    inputs.input_ids = {source.input_ids};
    for (const bertgen::GeneratedSequence& sequence : session.generate(inputs, config).sequences) {
      std::cout << sequence.score << "\t" << tokenizer->decode(sequence.ids, {.skip_special_tokens = true}) << "\n";
    }
  }
} catch (const bertgen::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
