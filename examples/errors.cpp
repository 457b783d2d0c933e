// What to do about errors: bad input is told to the user, a bad checkpoint ends the program, and what takes too long is
// cancelled.
//
//   errors DIRECTORY TEXT…
#include <bertgen/bertgen.hpp>
#include <chrono>
#include <condition_variable>
#include <iostream>

namespace {

std::string answer(bertgen::Session& session, const bertgen::Tokenizer& tokenizer, const std::string& text) {
  std::stop_source cancel;
  std::jthread watch([&cancel](const std::stop_token& answered) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait_for(lock, answered, std::chrono::minutes(1), [] { return false; });
    cancel.request_stop();
  });
  bertgen::GenerateInputs inputs;
  inputs.input_ids = {tokenizer.encode(text).input_ids};
  bertgen::GenerateArguments<float> arguments;
  arguments.cancel_token = cancel.get_token();
  const auto output = session.generate(inputs, session.model().generation_config(), arguments);
  return tokenizer.decode(output.sequences[0].ids, {.skip_special_tokens = true});
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "usage: errors DIRECTORY TEXT…\n";
    return 2;
  }
  const std::string directory = argv[1];
  const auto model =
      std::make_shared<const bertgen::EncoderDecoderModel>(bertgen::EncoderDecoderModel::from_pretrained(directory));
  for (const std::string& warning : model->warnings()) std::cerr << "warning: " << warning << "\n";
  const auto tokenizer = bertgen::AutoTokenizer::from_pretrained(directory);
  bertgen::Session session(model);

  for (int i = 2; i < argc; ++i) {
    try {
      std::cout << answer(session, *tokenizer, argv[i]) << "\n";
    } catch (const bertgen::ArgumentError& error) {  // this text: none of its tokens, or too many
      std::cerr << error.what() << "\n";
    } catch (const bertgen::CancelledError& error) {
      std::cerr << error.what() << "\n";
    }
  }
} catch (const bertgen::Error& error) {  // the checkpoint
  std::cerr << error.what() << "\n";
  return 1;
}
