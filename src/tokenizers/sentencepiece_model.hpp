// The contents of a SentencePiece model file (`spiece.model`), a serialised `ModelProto`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bertgen::detail {

/// Numbers and defaults of sentencepiece_model.proto.
struct SentencePieceModel {
  enum class PieceType : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };
  enum class Algorithm : std::uint8_t { unigram = 1, bpe, word, character };

  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::normal;
  };

  std::vector<Piece> pieces;
  Algorithm algorithm = Algorithm::unigram;
  bool byte_fallback = false;
  bool treat_whitespace_as_suffix = false;
  std::string precompiled_charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

/// The piece that stands for one byte: "<0x0A>".
std::string byte_piece(std::uint8_t byte);

/// Reads a model and checks that it is whole: pieces are text, different from one another and have finite scores, one
/// of them stands for unknown text, byte pieces are complete. Throws TokenizerError; `source` names the file.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& source);

}  // namespace bertgen::detail
