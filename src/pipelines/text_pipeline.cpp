#include "bertgen/pipelines/text_pipeline.hpp"

#include <algorithm>
#include <utility>

#include "bertgen/core/error.hpp"
#include "tokenizers/unicode.hpp"

namespace bertgen {
namespace {

/// A window of one of the texts, and its ids.
struct Part {
  std::size_t text;
  std::size_t window;
  TokenIds ids;
};

/// How good a place between two tokens is to end a window at.
enum class Seam : std::uint8_t { inside_word, between_words, between_sentences };

Seam seam_at(const std::string& text, std::size_t at) {
  const std::size_t before = detail::white_space_begin(text, 0, at);
  if (before == at && detail::white_space_end(text, at) == at) return Seam::inside_word;
  const bool ends = before > 0 && std::string_view(".!?").find(text[before - 1]) != std::string_view::npos;
  return ends ? Seam::between_sentences : Seam::between_words;
}

/// How many of `tokens` from the first one on a window takes, of at most `most`: it ends at the last of the best places
/// in its second half.
std::size_t window_length(const std::string& text, std::span<const TextSpan> tokens, std::size_t most) {
  if (tokens.size() <= most) return tokens.size();
  std::size_t best = most;
  Seam seam = Seam::inside_word;
  for (std::size_t count = most; count > most / 2; --count) {
    const Seam here = seam_at(text, tokens[count].begin);
    if (here > seam) best = count, seam = here;
  }
  return best;
}

}  // namespace

TextPipeline TextPipeline::from_pretrained(const std::filesystem::path& directory, const TextPipelineOptions& options) {
  LoadOptions load;
  load.build.threads = options.threads;
  return {std::make_shared<const EncoderDecoderModel>(EncoderDecoderModel::from_pretrained(directory, load)),
          EncoderDecoderTokenizers::from_pretrained(directory), options};
}

TextPipeline::TextPipeline(std::shared_ptr<const EncoderDecoderModel> model, EncoderDecoderTokenizers tokenizers,
                           const TextPipelineOptions& options)
    : session_(std::make_unique<Session>(std::move(model), options.threads)),
      tokenizers_(std::move(tokenizers)),
      options_(options),
      config_(session_->model().generation_config()) {
  if (!tokenizers_.encoder || !tokenizers_.decoder) throw TokenizerError("pipeline: expected tokenizers, got none");
  if (options_.batch_size == 0) throw ArgumentError("batch_size: expected at least 1, got 0");
  if (!options_.add_special_tokens) {
    options_.add_special_tokens = session_->model().config().encoder.adds_special_tokens();
  }
}

std::vector<TextRange> text_windows(const Tokenizer& tokenizer, const std::string& text, std::size_t most,
                                    LongText long_text, std::size_t overlap, const std::string& name) {
  const EncodeOptions plain{.add_special_tokens = false};
  const Encoding all = tokenizer.encode(text, plain);
  if (all.size() <= most) return {{0, text.size()}};
  if (long_text == LongText::error) {
    throw ArgumentError(name + ": expected at most " + std::to_string(most) +
                        " tokens (the encoder's max_position_embeddings), got " + std::to_string(all.size()));
  }
  if (overlap > most / 2) {
    throw ArgumentError("window_overlap: expected at most half of a window's " + std::to_string(most) +
                        " tokens, got " + std::to_string(overlap));
  }
  std::vector<TextRange> windows;
  std::size_t first = 0;
  while (true) {
    const std::span<const TextSpan> rest(all.offsets.data() + first, all.size() - first);
    const std::size_t begin = windows.empty() ? 0 : rest.front().begin;
    // By itself a part of a text may have a token more than within it.
    std::size_t count = window_length(text, rest, most);
    const auto end = [&] { return count == rest.size() ? text.size() : rest[count].begin; };
    while (count > 1 && tokenizer.encode(text.substr(begin, end() - begin), plain).size() > most) --count;
    windows.push_back({begin, end()});
    if (long_text == LongText::truncate || count == rest.size()) return windows;
    first += std::max<std::size_t>(count - std::min(overlap, count), 1);
  }
}

std::vector<TextAnswer> TextPipeline::operator()(const std::vector<std::string>& texts) {
  std::vector<TextAnswer> answers(texts.size());
  const std::size_t added = *options_.add_special_tokens ? tokenizers_.encoder->encode("").size() : 0;
  const std::size_t most = session_->model().config().encoder.max_length() - added;
  std::vector<Part> parts;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    answers[i].windows = text_windows(*tokenizers_.encoder, texts[i], most, options_.long_text, options_.window_overlap,
                                      "text " + std::to_string(i));
    answers[i].cut = {answers[i].windows.back().end, texts[i].size()};
    for (std::size_t w = 0; w < answers[i].windows.size(); ++w) {
      const TextRange& window = answers[i].windows[w];
      const std::string part = texts[i].substr(window.begin, window.end - window.begin);
      TokenIds ids = tokenizers_.encoder->encode(part, {.add_special_tokens = *options_.add_special_tokens}).input_ids;
      if (!ids.empty()) parts.push_back({i, w, std::move(ids)});
    }
  }
  for (std::size_t begin = 0; begin < parts.size(); begin += options_.batch_size) {
    const std::size_t end = std::min(begin + options_.batch_size, parts.size());
    GenerateInputs inputs;
    for (std::size_t i = begin; i < end; ++i) {
      inputs.input_ids.push_back(parts[i].ids);
      inputs.requests.push_back(window_request(parts[i].text, parts[i].window));
    }
    GenerateArguments<float> arguments;
    arguments.token_text = [this](TokenId id) { return tokenizers_.decoder->token_text(id); };
    const auto sequences = session_->generate(inputs, config_, arguments).sequences;
    const std::size_t each = sequences.size() / inputs.input_ids.size();
    for (std::size_t i = begin; i < end; ++i) {
      const GeneratedSequence& best = sequences[(i - begin) * each];
      TextAnswer& answer = answers[parts[i].text];
      const std::string text = tokenizers_.decoder->decode(best.ids, {.skip_special_tokens = true});
      if (!answer.text.empty() && !text.empty()) answer.text += ' ';
      answer.text += text;
      answer.scores.push_back(best.score);
    }
  }
  return answers;
}

}  // namespace bertgen
