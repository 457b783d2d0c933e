#include "bertgen/tokenizers/tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/added_tokens.hpp"
#include "tokenizers/text.hpp"

namespace bertgen {

namespace {

[[noreturn]] void unknown_name(const char* what, const char* expected, std::string_view got) {
  throw ArgumentError(std::string(what) + ": expected " + expected + ", got \"" + std::string(got) + "\"");
}

std::size_t round_up(std::size_t length, std::optional<std::size_t> multiple) {
  const std::size_t excess = multiple ? length % *multiple : 0;
  return excess == 0 ? length : length + (*multiple - excess);
}

// Removes `count` elements, or all there are, from one end.
template <typename T>
void drop(std::vector<T>& values, std::size_t count, Side side) {
  const auto dropped = static_cast<std::ptrdiff_t>(std::min(count, values.size()));
  if (side == Side::left) {
    values.erase(values.begin(), values.begin() + dropped);
  } else {
    values.erase(values.end() - dropped, values.end());
  }
}

// Tokens that truncation takes from the text and from its pair.
struct Cut {
  std::size_t first;
  std::size_t second;
};

// transformers' `truncate_sequences`: `longest_first` first levels the two texts, then takes from both in turn.
Cut cut_by_python(std::size_t first, std::size_t second, std::size_t excess, bool pair, TruncationStrategy strategy) {
  if (strategy == TruncationStrategy::only_second) return {0, excess};
  if (strategy == TruncationStrategy::only_first || !pair) return {excess, 0};
  const bool first_longer = first > second;
  const std::size_t levelling = std::min(first_longer ? first - second : second - first, excess);
  const std::size_t from_first = (excess - levelling) / 2 + (first_longer ? levelling : 0);
  return {from_first, excess - from_first};
}

// tokenizers' `truncate_encodings`: `longest_first` keeps a text that fits into half of what there is room for.
Cut cut_by_tokenizers(std::size_t first, std::size_t second, std::size_t excess, bool pair,
                      TruncationStrategy strategy) {
  const std::size_t room = first + second - excess;
  if (room == 0) return {first, second};
  if (strategy == TruncationStrategy::longest_first) {
    if (!pair) return {excess, 0};
    const std::size_t shorter = std::min(first, second);
    const std::size_t kept = std::min(shorter, room / 2);
    return first > second ? Cut{first - (room - kept), second - kept} : Cut{first - kept, second - (room - kept)};
  }
  const bool from_first = strategy == TruncationStrategy::only_first;
  const std::string name = from_first ? "only_first" : "only_second";
  if (!from_first && !pair) throw ArgumentError("truncation: " + name + ": expected a second text, got none");
  const std::size_t available = from_first ? first : second;
  if (available <= excess) {
    throw ArgumentError("truncation: " + name + ": expected a text of more than " + std::to_string(excess) +
                        " tokens to shorten, got " + std::to_string(available));
  }
  return from_first ? Cut{excess, 0} : Cut{0, excess};
}

template <typename T>
void insert_padding(std::vector<T>& values, std::size_t count, const T& value, Side side) {
  values.insert(side == Side::left ? values.begin() : values.end(), count, value);
}

}  // namespace

PaddingStrategy padding_strategy(std::string_view name) {
  if (name == "do_not_pad") return PaddingStrategy::do_not_pad;
  if (name == "longest") return PaddingStrategy::longest;
  if (name == "max_length") return PaddingStrategy::max_length;
  unknown_name("padding", "\"longest\", \"max_length\" or \"do_not_pad\"", name);
}

TruncationStrategy truncation_strategy(std::string_view name) {
  if (name == "do_not_truncate") return TruncationStrategy::do_not_truncate;
  if (name == "longest_first") return TruncationStrategy::longest_first;
  if (name == "only_first") return TruncationStrategy::only_first;
  if (name == "only_second") return TruncationStrategy::only_second;
  unknown_name("truncation", "\"longest_first\", \"only_first\", \"only_second\" or \"do_not_truncate\"", name);
}

Side side(std::string_view name) {
  if (name == "left") return Side::left;
  if (name == "right") return Side::right;
  unknown_name("side", "\"left\" or \"right\"", name);
}

// EncodeOptions with everything decided.
struct Tokenizer::Plan {
  bool add_special_tokens;
  PaddingStrategy padding;
  TruncationStrategy truncation;
  std::size_t max_length;
  std::optional<std::size_t> pad_to_multiple_of;
  Side padding_side;
  Side truncation_side;
  TokenId pad_id;

  // Length that padding brings a sequence to, in a batch whose longest has `longest` tokens.
  std::size_t padded_length(std::size_t longest) const {
    const std::size_t exact = padding == PaddingStrategy::longest ? longest : max_length;
    // Rounding a larger length up could overflow.
    const std::size_t length = exact > max_padded_length ? exact : round_up(exact, pad_to_multiple_of);
    if (length > max_padded_length && length > longest) {
      throw ArgumentError("padding: expected at most " + std::to_string(max_padded_length) + " tokens, got " +
                          std::to_string(length));
    }
    return length;
  }
};

Tokenizer::Tokenizer(TokenizerOptions options, Backend backend) : options_(std::move(options)), backend_(backend) {}

Tokenizer::~Tokenizer() = default;

Tokenizer::Plan Tokenizer::plan(const EncodeOptions& options) const {
  const bool only_length = options.max_length && !options.padding;
  const std::optional<std::size_t> limit = options.max_length ? options.max_length : options_.model_max_length;
  Plan plan{.add_special_tokens = options.add_special_tokens,
            .padding = options.padding.value_or(PaddingStrategy::do_not_pad),
            .truncation = options.truncation.value_or(only_length ? TruncationStrategy::longest_first
                                                                  : TruncationStrategy::do_not_truncate),
            .max_length = limit.value_or(0),
            .pad_to_multiple_of = options.pad_to_multiple_of,
            .padding_side = options.padding_side.value_or(options_.padding_side),
            .truncation_side = options.truncation_side.value_or(options_.truncation_side),
            .pad_id = -1};
  if (options.max_length == 0U) throw ArgumentError("max_length: expected at least 1, got 0");
  if (options.pad_to_multiple_of == 0U) throw ArgumentError("pad_to_multiple_of: expected at least 1, got 0");
  if (!limit) {
    plan.truncation = TruncationStrategy::do_not_truncate;
    if (plan.padding == PaddingStrategy::max_length) plan.padding = PaddingStrategy::do_not_pad;
  }
  if (plan.padding == PaddingStrategy::do_not_pad) return plan;

  const std::optional<TokenId> pad_id = pad_token_id();
  if (!pad_id) throw ArgumentError("padding: the tokenizer has no pad_token");
  plan.pad_id = *pad_id;
  if (plan.truncation != TruncationStrategy::do_not_truncate && plan.pad_to_multiple_of &&
      plan.max_length % *plan.pad_to_multiple_of != 0) {
    throw ArgumentError("max_length: expected a multiple of pad_to_multiple_of (" +
                        std::to_string(*plan.pad_to_multiple_of) + ") when truncating and padding, got " +
                        std::to_string(plan.max_length));
  }
  return plan;
}

void Tokenizer::truncate(std::vector<Piece>& first, std::vector<Piece>& second, bool pair, const Plan& plan) const {
  if (plan.truncation == TruncationStrategy::do_not_truncate) return;
  std::size_t added = 0;
  if (plan.add_special_tokens) {
    for (const TemplateItem& item : sequence_template(pair)) added += item.sequence < 0 ? 1 : 0;
  }
  const std::size_t length = first.size() + second.size();
  const bool by_python = backend_ == Backend::python;
  // tokenizers takes a limit that the special tokens alone exceed for none at all.
  if (length + added <= plan.max_length || (!by_python && plan.max_length < added)) return;
  const std::size_t excess = length + added - plan.max_length;
  const Cut cut = by_python ? cut_by_python(first.size(), second.size(), excess, pair, plan.truncation)
                            : cut_by_tokenizers(first.size(), second.size(), excess, pair, plan.truncation);
  drop(first, cut.first, plan.truncation_side);
  drop(second, cut.second, plan.truncation_side);
}

Encoding Tokenizer::encode_unpadded(std::string_view text, const std::string_view* text_pair, const Plan& plan) const {
  for (const std::string_view part : {text, text_pair != nullptr ? *text_pair : std::string_view()}) {
    if (part.size() > max_text_bytes) {
      throw TokenizerError("text: expected at most " + std::to_string(max_text_bytes) + " bytes, got " +
                           std::to_string(part.size()));
    }
  }
  const bool pair = text_pair != nullptr;
  std::vector<Piece> pieces[2] = {tokenize(text), pair ? tokenize(*text_pair) : std::vector<Piece>()};
  truncate(pieces[0], pieces[1], pair, plan);

  Encoding encoding;
  const std::vector<TemplateItem> items = sequence_template(pair);
  const bool has_types = has_token_type_ids();
  const std::size_t size = items.size() + pieces[0].size() + pieces[1].size();
  encoding.input_ids.reserve(size);
  encoding.offsets.reserve(size);
  encoding.tokens.reserve(size);
  encoding.special_tokens_mask.reserve(size);
  if (has_types) encoding.token_type_ids.reserve(size);
  const auto append = [&](TokenId id, const TextSpan& span, TokenId type) {
    encoding.input_ids.push_back(id);
    encoding.offsets.push_back(span);
    encoding.tokens.push_back(id_to_token(id));
    encoding.special_tokens_mask.push_back(static_cast<std::uint8_t>(span.sequence < 0));
    if (has_types) encoding.token_type_ids.push_back(type);
  };
  for (const TemplateItem& item : items) {
    if (item.sequence < 0) {
      if (plan.add_special_tokens) append(item.id, {}, item.token_type_id);
      continue;
    }
    for (const Piece& piece : pieces[item.sequence]) {
      append(piece.id, {piece.begin, piece.end, item.sequence}, item.token_type_id);
    }
  }
  encoding.attention_mask.assign(encoding.size(), 1);
  return encoding;
}

void Tokenizer::pad(Encoding& encoding, std::size_t length, const Plan& plan) const {
  if (encoding.size() >= length) return;
  const std::size_t count = length - encoding.size();
  const Side side = plan.padding_side;
  insert_padding(encoding.input_ids, count, plan.pad_id, side);
  insert_padding(encoding.attention_mask, count, std::uint8_t{0}, side);
  insert_padding(encoding.special_tokens_mask, count, std::uint8_t{1}, side);
  insert_padding(encoding.tokens, count, id_to_token(plan.pad_id), side);
  insert_padding(encoding.offsets, count, TextSpan{}, side);
  if (has_token_type_ids()) insert_padding(encoding.token_type_ids, count, TokenId{0}, side);
}

Encoding Tokenizer::encode_one(std::string_view text, const std::string_view* text_pair,
                               const EncodeOptions& options) const {
  const Plan plan = this->plan(options);
  Encoding encoding = encode_unpadded(text, text_pair, plan);
  if (plan.padding != PaddingStrategy::do_not_pad && (encoding.size() > 0 || backend_ == Backend::tokenizers)) {
    pad(encoding, plan.padded_length(encoding.size()), plan);
  }
  return encoding;
}

Encoding Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  return encode_one(text, nullptr, options);
}

Encoding Tokenizer::encode(std::string_view text, std::string_view text_pair, const EncodeOptions& options) const {
  const bool none = text_pair.empty() && backend_ == Backend::tokenizers;
  return encode_one(text, none ? nullptr : &text_pair, options);
}

std::vector<Encoding> Tokenizer::encode_rows(const std::vector<std::string>& texts,
                                             const std::vector<std::string>* text_pairs,
                                             const EncodeOptions& options) const {
  const Plan plan = this->plan(options);
  std::vector<Encoding> rows;
  rows.reserve(texts.size());
  std::size_t longest = 0;
  for (std::size_t row = 0; row < texts.size(); ++row) {
    const std::string_view text_pair = text_pairs != nullptr ? (*text_pairs)[row] : std::string_view();
    rows.push_back(encode_unpadded(texts[row], text_pairs != nullptr ? &text_pair : nullptr, plan));
    longest = std::max(longest, rows.back().size());
  }
  if (plan.padding == PaddingStrategy::do_not_pad) return rows;
  const std::size_t length = plan.padded_length(longest);
  for (Encoding& row : rows) pad(row, length, plan);
  return rows;
}

std::vector<Encoding> Tokenizer::encode_batch(const std::vector<std::string>& texts,
                                              const EncodeOptions& options) const {
  return encode_rows(texts, nullptr, options);
}

std::vector<Encoding> Tokenizer::encode_batch(const std::vector<std::string>& texts,
                                              const std::vector<std::string>& text_pairs,
                                              const EncodeOptions& options) const {
  if (texts.size() != text_pairs.size()) {
    throw ArgumentError("text_pairs: expected " + std::to_string(texts.size()) + " texts, one for each text, got " +
                        std::to_string(text_pairs.size()));
  }
  return encode_rows(texts, &text_pairs, options);
}

std::string Tokenizer::decode(const TokenIds& ids, const DecodeOptions& options) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    if (!options.skip_special_tokens || !is_special(id)) tokens.push_back(id_to_token(id));
  }
  std::string text = tokens_to_text(tokens);
  const bool clean = options.clean_up_tokenization_spaces.value_or(options_.clean_up_tokenization_spaces);
  return clean && can_clean_up() ? detail::clean_up_tokenization(std::move(text)) : text;
}

std::string Tokenizer::text_of_token(const std::string& token) const {
  const std::string before = "abcdef";  // a word, so that the token is not the first
  return tokens_to_text({before, token}).substr(before.size());
}

std::string Tokenizer::token_text(TokenId id) const {
  const auto token = find_token(id);
  return token ? text_of_token(*token) : std::string();
}

}  // namespace bertgen
