// Hidden states of the encoder: cosine similarity of texts by the mean over their tokens.
//
//   encode examples/fuse-en "The bridge was closed." "The bridge was shut." "I like tea."
#include <bertgen/bertgen.hpp>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::cerr << "usage: encode DIRECTORY TEXT TEXT…\n";
    return 2;
  }
  const auto model = bertgen::EncoderDecoderModel::from_pretrained(argv[1]);
  const auto tokenizer = bertgen::AutoTokenizer::from_pretrained(argv[1]);
  bertgen::Workspace workspace;
  std::vector<Eigen::RowVectorXf> means;
  for (int i = 2; i < argc; ++i) {
    const std::vector<bertgen::TokenIds> ids = {tokenizer->encode(argv[i]).input_ids};
    const auto states = model.encoder().forward(ids, {}, workspace);  // [length, hidden]
    means.emplace_back(states.view().matrix().colwise().mean().normalized());
  }
  for (std::size_t i = 1; i < means.size(); ++i) {
    std::cout << means[0].dot(means[i]) << "  " << argv[2 + i] << "\n";
  }
} catch (const bertgen::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
