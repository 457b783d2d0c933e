// Prints an answer word by word while it is generated. Beams are streamed, too: the words that all of them share.
//
//   stream examples/fuse-en "John lives in Paris. He works for a bank."
#include <bertgen/bertgen.hpp>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: stream DIRECTORY TEXT\n";
    return 2;
  }
  const auto model =
      std::make_shared<const bertgen::EncoderDecoderModel>(bertgen::EncoderDecoderModel::from_pretrained(argv[1]));
  const auto tokenizers = bertgen::EncoderDecoderTokenizers::from_pretrained(argv[1]);
  bertgen::TextStreamer streamer(tokenizers.decoder, [](const std::string& text, bool stream_end) {
    std::cout << text << (stream_end ? "\n" : "") << std::flush;
  });
  bertgen::GenerateArguments<float> arguments;
  arguments.streamers = {&streamer};
  bertgen::GenerateInputs inputs;
  inputs.input_ids = {tokenizers.encoder->encode(argv[2]).input_ids};
  bertgen::Session(model).generate(inputs, model->generation_config(), arguments);
} catch (const bertgen::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
