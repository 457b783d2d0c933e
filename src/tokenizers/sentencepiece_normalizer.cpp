#include "tokenizers/sentencepiece_normalizer.hpp"

#include <bit>
#include <cstring>

#include "bertgen/core/error.hpp"
#include "tokenizers/text.hpp"

namespace bertgen::detail {

namespace {

static_assert(std::endian::native == std::endian::little, "the double array is stored in this order");

// Units of a double array: a node has a label (its byte) and an offset to its children; bit 31 marks a value instead.
bool is_value(std::uint32_t unit) { return (unit >> 31) != 0; }
bool has_value(std::uint32_t unit) { return ((unit >> 8) & 1) != 0; }
std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7FFFFFFFU; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x800000FFU; }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200U) >> 6); }

}  // namespace

SentencePieceNormalizer::SentencePieceNormalizer(const SentencePieceModel& model, const ByteTrie& user_defined,
                                                 const std::string& source)
    : model_(model), user_defined_(user_defined) {
  std::string_view rules = model.precompiled_charsmap;
  if (rules.empty()) return;
  // Layout: size of the array in bytes, the array, the replacements.
  std::uint32_t array_bytes = 0;
  if (rules.size() > sizeof array_bytes) std::memcpy(&array_bytes, rules.data(), sizeof array_bytes);
  rules.remove_prefix(std::min(rules.size(), sizeof array_bytes));
  if (array_bytes >= sizeof(std::uint32_t) && array_bytes < rules.size()) {
    units_.resize(array_bytes / sizeof(std::uint32_t));
    std::memcpy(units_.data(), rules.data(), units_.size() * sizeof(std::uint32_t));
    replacements_ = rules.substr(array_bytes);
  }
  if (!is_sound()) throw TokenizerError(source + ": the normalisation rules (precompiled_charsmap) are damaged");
}

// Every step from a node, whatever the byte, stays inside the array, and every value inside the replacements.
bool SentencePieceNormalizer::is_sound() const {
  if (units_.empty() || replacements_.back() != '\0') return false;
  for (std::size_t i = 0; i < units_.size(); ++i) {
    if (is_value(units_[i])) {
      if (value_of(units_[i]) >= replacements_.size()) return false;
      continue;
    }
    const std::size_t children = i ^ offset(units_[i]);
    if ((children | 0xFF) >= units_.size()) return false;
    if (has_value(units_[i]) && !is_value(units_[children])) return false;
  }
  return true;
}

SentencePieceNormalizer::Prefix SentencePieceNormalizer::longest_rule(std::string_view text) const {
  Prefix longest{{}, 0};
  if (units_.empty()) return longest;
  std::size_t node = offset(units_.front());
  for (std::size_t i = 0; i < text.size(); ++i) {
    node ^= static_cast<std::uint8_t>(text[i]);
    const std::uint32_t unit = units_[node];
    if (label(unit) != static_cast<std::uint8_t>(text[i])) break;
    node ^= offset(unit);
    if (has_value(unit)) longest = {replacements_.data() + value_of(units_[node]), i + 1};
  }
  return longest;
}

SentencePieceNormalizer::Prefix SentencePieceNormalizer::normalize_prefix(std::string_view text) const {
  const std::size_t literal = user_defined_.longest_prefix(text).second;
  if (literal > 0) return {text.substr(0, literal), literal};
  const Prefix rule = longest_rule(text);
  if (rule.length > 0) return rule;
  const std::size_t length = utf8_length(text);
  if (length == 0) return {"\xEF\xBF\xBD", 1};
  return {text.substr(0, length), length};
}

NormalizedText SentencePieceNormalizer::normalize(std::string_view text) const {
  NormalizedText result;
  const bool trim = model_.remove_extra_whitespaces;
  const std::string_view space = model_.escape_whitespaces ? space_symbol : " ";
  std::size_t at = 0;
  while (trim && at < text.size()) {
    const Prefix prefix = normalize_prefix(text.substr(at));
    if (prefix.normalized != " ") break;
    at += prefix.length;
  }
  if (at == text.size()) return result;

  if (model_.add_dummy_prefix && !model_.treat_whitespace_as_suffix) result.append(space, at);
  bool after_space = trim;
  while (at < text.size()) {
    Prefix prefix = normalize_prefix(text.substr(at));
    while (after_space && prefix.normalized.starts_with(' ')) prefix.normalized.remove_prefix(1);
    for (const char& byte : prefix.normalized) result.append(byte == ' ' ? space : std::string_view(&byte, 1), at);
    if (!prefix.normalized.empty()) after_space = trim && prefix.normalized.ends_with(' ');
    at += prefix.length;
    // A rule may stand for far more text than it replaces.
    if (result.text.size() > INT32_MAX) throw TokenizerError("text: longer than 2 GiB after normalisation");
  }

  std::size_t end = at;
  while (trim && result.text.ends_with(space)) {
    result.text.erase(result.text.size() - space.size());
    end = result.origins[result.text.size()];
    result.origins.resize(result.text.size());
  }
  if (model_.add_dummy_prefix && model_.treat_whitespace_as_suffix) result.append(space, end);
  result.origins.push_back(static_cast<std::uint32_t>(end));
  return result;
}

}  // namespace bertgen::detail
