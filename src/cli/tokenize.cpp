#include <algorithm>
#include <charconv>

#include "model.hpp"

namespace bertgen::cli {
namespace {

template <typename Integers>
std::string joined(const Integers& values) {
  std::string text;
  for (const auto& value : values) {
    if (!text.empty()) text += ' ';
    text += std::to_string(value);
  }
  return text;
}

/// What a few bytes of a request may ask for is bounded; far more than any model can take.
constexpr std::size_t longest_padding = 65536;

class TokenizeHandler final : public Handler {
 public:
  explicit TokenizeHandler(const Options& options) : coder_(options.model, options) { coder_.require(); }

  std::vector<Answer> answer(const std::vector<Json>& requests) override {
    return answer_each(requests, [this](const Json& request) { return tokenize(request); });
  }

 private:
  /// A strategy as Hugging Face takes it: true, false, or its name.
  template <typename Strategy>
  static std::optional<Strategy> strategy(const Json& request, const char* key, Strategy when_true,
                                          std::optional<Strategy> when_false, Strategy (*by_name)(std::string_view)) {
    const Json* given = find_field(request, key);
    if (given == nullptr) return std::nullopt;
    if (given->is_boolean()) return given->get<bool>() ? when_true : when_false;
    if (!given->is_string()) {
      throw ArgumentError(std::string(key) + ": expected true, false or the name of a strategy, got " +
                          excerpt(*given));
    }
    return by_name(given->get<std::string>());
  }

  Answer tokenize(const Json& request) const {
    EncodeOptions options;
    options.add_special_tokens = boolean_field(request, "add_special_tokens").value_or(coder_.add_special_tokens);
    options.truncation = strategy(request, "truncation", TruncationStrategy::longest_first,
                                  std::optional(TruncationStrategy::do_not_truncate), truncation_strategy);
    // Padding that is false leaves it to max_length alone to truncate, as padding that is not given does.
    options.padding = strategy<PaddingStrategy>(request, "padding", PaddingStrategy::longest, {}, padding_strategy);
    options.max_length = size_field(request, "max_length", 1);
    if (options.padding == PaddingStrategy::max_length && options.max_length > longest_padding) {
      throw ArgumentError("max_length: expected at most " + std::to_string(longest_padding) + " to pad to, got " +
                          std::to_string(*options.max_length));
    }
    const auto text = text_field(request, "text");
    if (!text) throw ArgumentError("text: expected a string, got none");
    const auto pair = text_field(request, "text_pair");
    const Encoding encoding =
        pair ? coder_.require().encode(*text, *pair, options) : coder_.require().encode(*text, options);
    Answer answer;
    answer.plain = joined(encoding.input_ids);
    answer.fields = {
        {"ids", encoding.input_ids}, {"tokens", encoding.tokens}, {"attention_mask", encoding.attention_mask}};
    answer.fields["offsets"] = Json::array();
    for (const TextSpan& span : encoding.offsets) answer.fields["offsets"].push_back({span.begin, span.end});
    return answer;
  }

  TextCoder coder_;
};

class DetokenizeHandler final : public Handler {
 public:
  explicit DetokenizeHandler(const Options& options) : options_(options), coder_(options.model, options) {
    coder_.require();
  }

  std::vector<Answer> answer(const std::vector<Json>& requests) override {
    return answer_each(requests, [this](const Json& request) { return detokenize(request); });
  }

  Json request_from_line(std::string line) const override {
    Json ids = Json::array();
    const char* position = line.data();
    const char* const end = line.data() + line.size();
    while (true) {
      while (position != end && (*position == ' ' || *position == '\t')) ++position;
      if (position == end) return {{"ids", std::move(ids)}};
      TokenId id = 0;
      const auto [after, error] = std::from_chars(position, end, id);
      if (error != std::errc() || (after != end && *after != ' ' && *after != '\t')) {
        throw ArgumentError("ids: expected token ids separated by spaces, got \"" +
                            std::string(position, std::min(end, position + 20)) + "\"");
      }
      ids.push_back(id);
      position = after;
    }
  }

 private:
  Answer detokenize(const Json& request) const {
    const auto ids = ids_field(request, "ids");
    if (!ids) throw ArgumentError("ids: expected a list of token ids, got none");
    DecodeOptions options;
    options.skip_special_tokens =
        boolean_field(request, "skip_special_tokens").value_or(options_.skip_special_tokens.value_or(false));
    options.clean_up_tokenization_spaces = boolean_field(request, "clean_up_tokenization_spaces");
    if (!options.clean_up_tokenization_spaces) {
      options.clean_up_tokenization_spaces = options_.clean_up_tokenization_spaces;
    }
    Answer answer;
    answer.plain = coder_.require_decoder().decode(*ids, options);
    answer.fields["text"] = answer.plain;
    return answer;
  }

  const Options& options_;
  TextCoder coder_;
};

}  // namespace

int run_tokenize(const Options& options) {
  TokenizeHandler handler(options);
  return run_requests(options, handler);
}

int run_detokenize(const Options& options) {
  DetokenizeHandler handler(options);
  return run_requests(options, handler);
}

}  // namespace bertgen::cli
