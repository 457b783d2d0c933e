// The first example of Hugging Face's page on BertGeneration: a BERT becomes both halves of an encoder-decoder to
// train.
//
//   warm_start BERT 101 102 bert2bert        # the ids of [CLS] and [SEP]
#include <bertgen/bertgen.hpp>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::cerr << "usage: warm_start BERT BOS EOS DESTINATION\n";
    return 2;
  }
  const bertgen::TokenId bos = std::stoi(argv[2]);
  const bertgen::TokenId eos = std::stoi(argv[3]);
  auto encoder = bertgen::BertGenerationEncoder::from_pretrained(argv[1], {.bos_token_id = bos, .eos_token_id = eos});
  // Cross-attention is not in the file: the seed draws it.
  auto decoder = bertgen::BertGenerationDecoder::from_pretrained(
      argv[1], {.bos_token_id = bos, .eos_token_id = eos, .is_decoder = true, .add_cross_attention = true, .seed = 1});
  bertgen::EncoderDecoderConfig ids;
  ids.decoder_start_token_id = ids.bos_token_id = bos;
  ids.eos_token_id = {eos};
  ids.pad_token_id = decoder.config().pad_token_id;
  ids.tokenizer_class = "BertTokenizer";
  const bertgen::EncoderDecoderModel bert2bert(std::move(encoder), std::move(decoder), ids);
  bert2bert.save_pretrained(argv[4], {.replace = true, .files = bertgen::tokenizer_files(argv[1])});
  std::cout << bert2bert.tensors().size() << " tensors written to " << argv[4] << "\n";
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
