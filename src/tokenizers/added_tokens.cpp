// Tokenizer's tokens beside the vocabulary: their ids, and where they lie in a text.
#include "tokenizers/added_tokens.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "bertgen/core/error.hpp"
#include "bertgen/tokenizers/tokenizer.hpp"
#include "tokenizers/config.hpp"
#include "tokenizers/text.hpp"
#include "tokenizers/unicode.hpp"

namespace bertgen {

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
  if (!words.empty()) matcher_ = std::make_unique<const detail::AddedTokenMatcher>(words);
  if (!normalized_words.empty()) {
    normalized_matcher_ = std::make_unique<const detail::AddedTokenMatcher>(normalized_words);
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

std::optional<std::string> Tokenizer::find_token(TokenId id) const {
  const auto added = added_.find(id);
  if (added != added_.end()) {
    const auto normalized = normalized_contents_.find(id);
    return normalized != normalized_contents_.end() ? normalized->second : added->second.content;
  }
  return vocabulary_token(id);
}

std::string Tokenizer::id_to_token(TokenId id) const {
  std::optional<std::string> token = find_token(id);
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

}  // namespace bertgen
