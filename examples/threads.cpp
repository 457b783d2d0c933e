// Two ways to use one model from several threads: a session for each, and a scheduler for all. The answers are the
// same.
//
//   threads examples/fuse-en
#include <bertgen/bertgen.hpp>
#include <iostream>

namespace {

using Ids = std::vector<bertgen::TokenIds>;

/// Each thread has a session of its own and takes one text at a time.
Ids with_sessions(std::shared_ptr<const bertgen::EncoderDecoderModel> model, const Ids& sources) {
  Ids answers(sources.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    threads.emplace_back([&, i] {
      bertgen::Session session(model, 1);
      bertgen::GenerateInputs inputs;
      inputs.input_ids = {sources[i]};
      answers[i] = session.generate(inputs).sequences[0].ids;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return answers;
}

/// Any thread hands in its text; one thread computes them together.
Ids with_scheduler(std::shared_ptr<const bertgen::EncoderDecoderModel> model, const Ids& sources) {
  bertgen::Scheduler scheduler(model);
  std::vector<std::future<bertgen::GenerateOutput>> futures;
  for (const bertgen::TokenIds& source : sources) {
    bertgen::GenerateRequest<float> request;
    request.inputs.input_ids = {source};
    request.config = model->generation_config();
    futures.push_back(scheduler.submit(std::move(request)));
  }
  Ids answers;
  for (auto& future : futures) answers.push_back(future.get().sequences[0].ids);
  return answers;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string directory = argc > 1 ? argv[1] : "examples/fuse-en";
  const auto model =
      std::make_shared<const bertgen::EncoderDecoderModel>(bertgen::EncoderDecoderModel::from_pretrained(directory));
  const auto tokenizer = bertgen::AutoTokenizer::from_pretrained(directory);
  Ids sources;
  for (const char* text : {"John lives in Paris. He works for a bank.", "The bridge was closed. It was old."}) {
    sources.push_back(tokenizer->encode(text).input_ids);
  }
  const Ids answers = with_sessions(model, sources);
  for (const bertgen::TokenIds& ids : answers) {
    std::cout << tokenizer->decode(ids, {.skip_special_tokens = true}) << "\n";
  }
  return answers == with_scheduler(model, sources) ? 0 : 1;
} catch (const bertgen::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
