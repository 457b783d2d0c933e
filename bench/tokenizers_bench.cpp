// Encodes every line of a text; run by bench/compare_tokenizers.py, which compares with Hugging Face's tokenizers.
//
//   build/bench/bertgen_tokenizers_bench MODEL TEXT ROUNDS
//
// Prints the seconds of each round, and the tokens of one.
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "bertgen/tokenizers/auto.hpp"

int main(int count, char** arguments) {
  if (count != 4) {
    std::cerr << "usage: " << arguments[0] << " MODEL TEXT ROUNDS\n";
    return 2;
  }
  try {
    const auto tokenizer = bertgen::AutoTokenizer::from_pretrained(arguments[1]);
    if (!tokenizer) throw std::runtime_error(std::string(arguments[1]) + ": expected the files of a tokenizer");
    std::ifstream file(arguments[2]);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    std::size_t tokens = 0;
    for (int round = std::atoi(arguments[3]); round > 0; --round) {
      tokens = 0;
      const auto start = std::chrono::steady_clock::now();
      for (const std::string& line : lines) tokens += tokenizer->encode(line).size();
      std::cout << std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() << "\n";
    }
    std::cout << tokens << "\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
