// A task class: texts in, texts out, with options and a policy for texts that are too long.
//
//   summarize DIRECTORY TEXT…
#include <bertgen/bertgen.hpp>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "usage: summarize DIRECTORY TEXT…\n";
    return 2;
  }
  const std::string directory = argv[1];
  const std::vector<std::string> texts(argv + 2, argv + argc);

  auto summarizer = bertgen::Summarizer::from_pretrained(directory, {.long_text = bertgen::LongText::truncate});
  summarizer.generation_config().num_beams = 4;
  summarizer.generation_config().max_new_tokens = 60;
  for (const bertgen::TextAnswer& answer : summarizer.summarize(texts)) {
    std::cout << answer.text << "\n";
    if (answer.cut.begin < answer.cut.end) std::cerr << "not read from byte " << answer.cut.begin << " on\n";
  }
} catch (const bertgen::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
