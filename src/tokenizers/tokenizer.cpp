#include "bertgen/tokenizers/tokenizer.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/added_tokens.hpp"
#include "tokenizers/config.hpp"
#include "tokenizers/text.hpp"
#include "tokenizers/unicode.hpp"

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

void Tokenizer::add_special_tokens() {
  for (const auto& [id, token] : options_.added_tokens_decoder) {
    if (id < 0) throw TokenizerError("added token \"" + token.content + "\": negative id " + std::to_string(id));
  }
  const std::vector<std::string> special = special_tokens();
  if (backend_ == Backend::tokenizers) {
    give_ids_in_order(special);
  } else {
    give_ids_as_told(special);
  }
  for (const std::string& token : special) {
    const TokenId id = added_ids_.find(token)->second;
    if (std::find(special_ids_.begin(), special_ids_.end(), id) == special_ids_.end()) special_ids_.push_back(id);
  }
  size_ = count_tokens();
  prepare_matching();
  skipped_ids_ = special_ids_;
  if (backend_ == Backend::tokenizers) {
    // tokenizers goes by the string, which is not the same for a token that normalisation changes.
    std::set<std::string> skipped;
    for (const auto& [id, token] : added_) {
      if (token.special) skipped.insert(token.content);
    }
    skipped_ids_.clear();
    for (const auto& [id, token] : added_) {
      if (skipped.contains(id_to_token(id))) skipped_ids_.push_back(id);
    }
  }
  std::sort(skipped_ids_.begin(), skipped_ids_.end());
}

// Named and further special tokens in order, some perhaps twice.
std::vector<std::string> Tokenizer::special_tokens() const {
  std::vector<std::string> special;
  for (const detail::NamedToken& named : detail::named_tokens) {
    if (options_.*named.member) special.push_back(*(options_.*named.member));
  }
  special.insert(special.end(), options_.extra_special_tokens.begin(), options_.extra_special_tokens.end());
  special.erase(std::remove(special.begin(), special.end(), std::string()), special.end());
  return special;
}

// As `PythonBackend` does: given ids hold; what is left and is not in the vocabulary follows all of them.
void Tokenizer::give_ids_as_told(const std::vector<std::string>& special) {
  added_ = options_.added_tokens_decoder;
  for (const auto& [id, token] : added_) added_ids_[token.content] = id;
  std::size_t next = count_tokens();
  for (const std::string& token : special) {
    if (added_ids_.contains(token)) continue;
    const std::optional<TokenId> in_vocabulary = find_in_vocabulary(token);
    const TokenId id = in_vocabulary ? *in_vocabulary : static_cast<TokenId>(next++);
    added_[id] = {.content = token};
    added_ids_.emplace(token, id);
  }
}

// As `TokenizersBackend` does: given tokens in the order of their ids, then the special ones.
void Tokenizer::give_ids_in_order(const std::vector<std::string>& special) {
  std::vector<AddedToken> tokens;
  std::set<std::string_view> contents;
  std::set<std::string_view> named;
  for (const detail::NamedToken& token : detail::named_tokens) {
    if (options_.*token.member) named.insert(*(options_.*token.member));
  }
  for (const auto& [id, token] : options_.added_tokens_decoder) {
    tokens.push_back(token);
    if (named.contains(token.content)) tokens.back().special = true;
    contents.insert(token.content);
  }
  for (const std::string& content : special) {
    if (!contents.insert(content).second) continue;
    const auto rules = options_.special_token_rules.find(content);
    tokens.push_back(rules != options_.special_token_rules.end() ? rules->second : AddedToken{.content = content});
    tokens.back().special = true;
  }
  std::size_t next = vocab_size();
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    const std::optional<TokenId> known = token_to_id(token.content);
    const TokenId id = known ? *known : static_cast<TokenId>(next++);
    added_ids_[token.content] = id;
    added_[id] = token;
  }
}

void Tokenizer::prepare_matching() {
  std::vector<std::pair<std::string_view, TokenId>> words;
  std::vector<std::pair<std::string_view, TokenId>> normalized_words;
  std::set<std::string_view> contents;
  for (const auto& [id, token] : added_) {
    if (token.content.empty() || !contents.insert(token.content).second) continue;
    const TokenId own = added_ids_.find(token.content)->second;
    if (backend_ == Backend::python || !token.normalized) {
      words.emplace_back(token.content, own);
      continue;
    }
    std::string normalized = normalized_content(token.content);
    std::string_view pattern = token.content;
    if (normalized != token.content) pattern = normalized_contents_[own] = std::move(normalized);
    const bool known = std::any_of(normalized_words.begin(), normalized_words.end(),
                                   [&](const auto& word) { return word.first == pattern; });
    if (!pattern.empty() && !known) normalized_words.emplace_back(pattern, own);
  }
  if (!words.empty()) matcher_ = std::make_unique<const detail::AddedTokenMatcher>(std::move(words));
  if (!normalized_words.empty()) {
    normalized_matcher_ = std::make_unique<const detail::AddedTokenMatcher>(std::move(normalized_words));
  }
}

// Different strings among all ids, as transformers counts: an added token may rename an id, or repeat a string.
std::size_t Tokenizer::count_tokens() const {
  std::size_t count = vocab_size();
  std::set<std::string_view> contents;
  for (const auto& [id, token] : added_) {
    const std::optional<std::string> replaced = vocabulary_token(id);
    if (backend_ == Backend::python && replaced && *replaced != token.content) --count;
    contents.insert(token.content);
  }
  for (const std::string_view content : contents) {
    const std::optional<TokenId> id = find_in_vocabulary(content);
    const auto renamed = id && backend_ == Backend::python ? added_.find(*id) : added_.end();
    if (!id || (renamed != added_.end() && renamed->second.content != content)) ++count;
  }
  return count;
}

std::optional<TokenId> Tokenizer::special_id(const std::optional<std::string>& token) const {
  return token ? token_to_id(*token) : std::nullopt;
}

bool Tokenizer::is_special(TokenId id) const {
  return std::binary_search(skipped_ids_.begin(), skipped_ids_.end(), id);
}

std::optional<TokenId> Tokenizer::token_to_id(std::string_view token) const {
  const auto added = added_ids_.find(token);
  return added != added_ids_.end() ? added->second : find_in_vocabulary(token);
}

TokenId Tokenizer::piece_to_id(std::string_view piece) const {
  const std::optional<TokenId> id = token_to_id(piece);
  return id ? *id : unknown_id();
}

TokenId Tokenizer::piece_to_id(std::string_view piece, TokenId id) const {
  const auto added = added_ids_.find(piece);
  return added != added_ids_.end() ? added->second : id;
}

std::string Tokenizer::id_to_token(TokenId id) const {
  const auto added = added_.find(id);
  if (added != added_.end()) {
    const auto normalized = normalized_contents_.find(id);
    return normalized != normalized_contents_.end() ? normalized->second : added->second.content;
  }
  std::optional<std::string> token = vocabulary_token(id);
  if (!token) {
    throw TokenizerError("id " + std::to_string(id) + ": not in the vocabulary of " + std::to_string(vocab_size()) +
                         " tokens and " + std::to_string(added_.size()) + " added ones");
  }
  return *std::move(token);
}

std::vector<Tokenizer::Piece> Tokenizer::split_added_tokens(std::string_view text) const {
  if (matcher_) return split(text, *matcher_);
  if (text.empty()) return {};
  return {{-1, 0, text.size()}};
}

std::vector<Tokenizer::Piece> Tokenizer::split_normalized_tokens(std::string_view text) const {
  return split(text, *normalized_matcher_);
}

std::vector<Tokenizer::Piece> Tokenizer::split(std::string_view text, const detail::AddedTokenMatcher& matcher) const {
  std::vector<Piece> parts;
  std::size_t begin = 0;  // of the text that no part covers yet
  const auto add_part = [&](TokenId id, std::size_t token_begin, std::size_t token_end) {
    if (token_begin > begin) parts.push_back({-1, begin, token_begin});
    parts.push_back({id, token_begin, token_end});
    begin = token_end;
  };
  if (backend_ == Backend::python) {
    matcher.for_each(text, add_part);
  } else {
    matcher.for_each(text, [&](TokenId id, std::size_t token_begin, std::size_t token_end) {
      const AddedToken& token = added_.at(id);
      if (options_.split_special_tokens && token.special) return;
      if (token.single_word && detail::touches_word(text, token_begin, token_end)) return;
      // A token on the left may have swallowed where this one starts.
      token_begin = std::max(token_begin, begin);
      token_end = std::max(token_end, begin);
      const std::size_t left = token.lstrip ? detail::white_space_begin(text, begin, token_begin) : token_begin;
      const std::size_t right = token.rstrip ? detail::white_space_end(text, token_end) : token_end;
      if (left > begin) parts.push_back({-1, begin, left});
      parts.push_back({id, token_begin, token_end});
      begin = right;
    });
  }
  if (begin < text.size()) parts.push_back({-1, begin, text.size()});
  if (backend_ == Backend::python) apply_added_token_rules(text, parts);
  return parts;
}

// `lstrip`, `rstrip` and `single_word`, step for step as `PythonBackend.tokenize` applies them.
void Tokenizer::apply_added_token_rules(std::string_view text, std::vector<Piece>& parts) const {
  const auto text_of = [&](const Piece& part) { return text.substr(part.begin, part.end - part.begin); };
  // What a changed part is now: seldom an added token.
  const auto relabel = [&](Piece& part) {
    const auto added = added_ids_.find(text_of(part));
    part.id = added != added_ids_.end() ? added->second : -1;
  };
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].id < 0) continue;
    const AddedToken& token = added_.at(parts[i].id);
    const std::string_view left = i > 0 ? text_of(parts[i - 1]) : std::string_view();
    const std::string_view right = i + 1 < parts.size() ? text_of(parts[i + 1]) : std::string_view();
    if (token.rstrip && !right.empty()) {
      parts[i + 1].begin = parts[i + 1].end - detail::strip_left(right).size();
      relabel(parts[i + 1]);
    }
    if (token.lstrip && !left.empty()) {
      parts[i - 1].end = parts[i - 1].begin + detail::strip_right(left).size();
      relabel(parts[i - 1]);
    }
    if (!token.single_word) continue;
    if (!left.empty() && left.back() != ' ') {
      parts[i - 1].end = std::exchange(parts[i].end, parts[i].begin);
      relabel(parts[i - 1]);
    } else if (!right.empty() && right.front() != ' ') {
      parts[i + 1].begin = std::exchange(parts[i].begin, parts[i].end);
      relabel(parts[i + 1]);
    }
  }
  parts.erase(std::remove_if(parts.begin(), parts.end(), [](const Piece& part) { return part.begin == part.end; }),
              parts.end());
}

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

}  // namespace bertgen
