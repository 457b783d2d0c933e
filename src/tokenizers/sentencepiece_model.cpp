#include "tokenizers/sentencepiece_model.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <optional>
#include <set>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/text.hpp"

namespace bertgen::detail {

namespace {

using PieceType = SentencePieceModel::PieceType;

constexpr std::uint64_t varint_type = 0;
constexpr std::uint64_t fixed64_type = 1;
constexpr std::uint64_t bytes_type = 2;
constexpr std::uint64_t fixed32_type = 5;

// One field of a protobuf message: `number` of a varint or fixed field, `bytes` of a length-delimited one.
struct Field {
  std::uint64_t id = 0;
  std::uint64_t wire_type = 0;
  std::uint64_t number = 0;
  std::string_view bytes;

  bool is(std::uint64_t wanted_id, std::uint64_t wanted_type) const {
    return id == wanted_id && wire_type == wanted_type;
  }
  bool flag() const { return number != 0; }
};

// Reads a message field by field; throws TokenizerError where it is not well formed.
class MessageReader {
 public:
  MessageReader(std::string_view message, const std::string& source) : rest_(message), source_(source) {}

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const std::uint64_t tag = varint();
    Field field;
    field.id = tag >> 3;
    field.wire_type = tag & 7;
    if (field.id == 0 || tag > UINT32_MAX) fail();
    switch (field.wire_type) {
      case varint_type:
        field.number = varint();
        break;
      case fixed64_type:
        field.number = little_endian(take(8));
        break;
      case bytes_type:
        field.bytes = take(varint());
        break;
      case fixed32_type:
        field.number = little_endian(take(4));
        break;
      default:
        fail();
    }
    return field;
  }

 private:
  [[noreturn]] void fail() const {
    throw TokenizerError(source_ + ": not a SentencePiece model, or damaged (malformed protobuf message)");
  }

  static std::uint64_t little_endian(std::string_view bytes) {
    std::uint64_t number = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) number = number << 8 | static_cast<std::uint8_t>(bytes[i]);
    return number;
  }

  std::uint64_t varint() {
    std::uint64_t number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(take(1).front());
      number |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return number;
    }
    fail();
  }

  std::string_view take(std::uint64_t count) {
    if (count > rest_.size()) fail();
    const std::string_view taken = rest_.substr(0, static_cast<std::size_t>(count));
    rest_.remove_prefix(static_cast<std::size_t>(count));
    return taken;
  }

  std::string_view rest_;
  const std::string& source_;
};

// Sets an enumeration whose values run from 1 to `last`; protobuf keeps the low 32 bits and drops what it does not
// know.
template <typename Enumeration>
void set_enumeration(Enumeration& target, std::uint64_t number, Enumeration last) {
  const auto value = static_cast<std::uint32_t>(number);
  if (value >= 1 && value <= static_cast<std::uint32_t>(last)) target = static_cast<Enumeration>(value);
}

SentencePieceModel::Piece parse_piece(std::string_view message, const std::string& source) {
  SentencePieceModel::Piece piece;
  MessageReader reader(message, source);
  while (const auto field = reader.next()) {
    if (field->is(1, bytes_type)) piece.text = field->bytes;
    if (field->is(2, fixed32_type)) piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field->number));
    if (field->is(3, varint_type)) set_enumeration(piece.type, field->number, PieceType::byte);
  }
  return piece;
}

void parse_trainer_spec(std::string_view message, const std::string& source, SentencePieceModel& model) {
  MessageReader reader(message, source);
  while (const auto field = reader.next()) {
    if (field->is(3, varint_type)) {
      set_enumeration(model.algorithm, field->number, SentencePieceModel::Algorithm::character);
    }
    if (field->is(24, varint_type)) model.treat_whitespace_as_suffix = field->flag();
    if (field->is(35, varint_type)) model.byte_fallback = field->flag();
  }
}

void parse_normalizer_spec(std::string_view message, const std::string& source, SentencePieceModel& model) {
  MessageReader reader(message, source);
  while (const auto field = reader.next()) {
    if (field->is(2, bytes_type)) model.precompiled_charsmap = field->bytes;
    if (field->is(3, varint_type)) model.add_dummy_prefix = field->flag();
    if (field->is(4, varint_type)) model.remove_extra_whitespaces = field->flag();
    if (field->is(5, varint_type)) model.escape_whitespaces = field->flag();
  }
}

// What is wrong with a piece, nullptr if nothing is.
const char* fault_of(const SentencePieceModel::Piece& piece) {
  constexpr std::size_t longest = 8000;  // SentencePiece's own limit.
  if (piece.text.empty()) return "an empty string";
  if (piece.text.size() >= longest) return "8000 bytes or more";
  if (piece.text.find('\0') != std::string::npos) return "a NUL byte";
  if (!is_valid_utf8(piece.text)) return "bytes that are not UTF-8";
  if (!std::isfinite(piece.score)) return "a score that is not finite";
  return nullptr;
}

[[noreturn]] void bad_piece(const std::string& source, std::size_t id, const std::string& got) {
  throw TokenizerError(source + ": piece " + std::to_string(id) + ": expected a text of its own, got " + got);
}

void check_pieces(const SentencePieceModel& model, const std::string& source) {
  std::set<std::pair<bool, std::string_view>> seen;
  std::set<std::string_view> bytes;
  std::size_t unknown = 0;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePieceModel::Piece& piece = model.pieces[id];
    if (const char* fault = fault_of(piece)) bad_piece(source, id, fault);
    const bool reserved =
        piece.type == PieceType::unknown || piece.type == PieceType::control || piece.type == PieceType::byte;
    if (!seen.emplace(reserved, piece.text).second) bad_piece(source, id, "\"" + piece.text + "\" again");
    if (piece.type == PieceType::unknown) ++unknown;
    if (piece.type == PieceType::byte) bytes.insert(piece.text);
  }
  if (unknown != 1) {
    throw TokenizerError(source + ": expected one piece for unknown text, got " + std::to_string(unknown));
  }
  std::size_t named = 0;
  for (unsigned byte = 0; byte < 256; ++byte) named += bytes.count(byte_piece(static_cast<std::uint8_t>(byte)));
  const std::size_t expected = model.byte_fallback ? 256 : 0;
  if (bytes.size() != expected || named != expected) {
    throw TokenizerError(source + ": expected " + std::to_string(expected) + " byte pieces <0x00> … <0xFF>, got " +
                         std::to_string(named) + " of " + std::to_string(bytes.size()));
  }
}

}  // namespace

std::string byte_piece(std::uint8_t byte) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  return {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
}

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& source) {
  SentencePieceModel model;
  bool trainer_spec = false;
  MessageReader reader(bytes, source);
  while (const auto field = reader.next()) {
    if (field->is(1, bytes_type)) model.pieces.push_back(parse_piece(field->bytes, source));
    if (field->is(2, bytes_type)) {
      trainer_spec = true;
      parse_trainer_spec(field->bytes, source, model);
    }
    if (field->is(3, bytes_type)) parse_normalizer_spec(field->bytes, source, model);
  }
  if (model.pieces.empty()) throw TokenizerError(source + ": not a SentencePiece model (no pieces)");
  // It follows the pieces in every file that SentencePiece writes, so a file cut short lacks it.
  if (!trainer_spec) throw TokenizerError(source + ": the file is cut short (no trainer settings after the pieces)");
  check_pieces(model, source);
  return model;
}

}  // namespace bertgen::detail
