#include <set>

#include "model.hpp"

namespace bertgen::cli {
namespace {

/// A request ready to be generated from.
struct Prepared {
  LongSource source;
  TokenIds prompt;
  GenerationConfig config;
  bool with_scores = false;  ///< output_scores
  std::uint64_t number = 0;  ///< of the request in the input: what sampling draws depends on it, not on the batch

  /// Whether there is nothing to generate from.
  bool empty() const { return source.sources.empty() || source.sources.front().empty_text; }
};

class GenerateHandler final : public Handler {
 public:
  GenerateHandler(const Options& options, const std::filesystem::path& directory)
      : options_(options),
        coder_(directory, options),
        session_(std::make_shared<const EncoderDecoderModel>(
                     EncoderDecoderModel::from_pretrained(directory, load_options(options))),
                 options.threads),
        defaults_(session_.model().generation_config()) {
    report_warnings(session_.model().warnings(), options);
    if (coder_.decoder_tokenizer) {
      arguments_.token_text = [tokenizer = coder_.decoder_tokenizer](TokenId id) { return tokenizer->token_text(id); };
    }
    if (options.assistant_model.empty()) return;
    assistant_.emplace(EncoderDecoderModel::from_pretrained(options.assistant_model));
    arguments_.assistant_model = &*assistant_;
    report_warnings(assistant_->warnings(), options);
  }

  /// The command line's options over the checkpoint's. Throws ConfigError.
  void apply_command_line() { update(defaults_, options_.generation, "options"); }

  std::vector<Answer> answer(const std::vector<Json>& requests) override {
    std::vector<Prepared> prepared(requests.size());
    std::vector<Answer> answers = answer_each(requests, [&](const Json& request) {
      const auto index = static_cast<std::size_t>(&request - requests.data());
      prepared[index] = prepare(request);
      prepared[index].number = answered_ + index;
      return Answer{};
    });
    answered_ += requests.size();
    // Requests that want the same options are computed together.
    std::vector<bool> taken(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (answers[i].error || taken[i]) continue;
      if (prepared[i].empty()) {
        answers[i] = empty_answer(prepared[i]);
        continue;
      }
      std::vector<std::size_t> group;
      for (std::size_t j = i; j < requests.size(); ++j) {
        if (answers[j].error || taken[j] || prepared[j].empty()) continue;
        if (!(prepared[j].config == prepared[i].config)) continue;
        taken[j] = true;
        group.push_back(j);
      }
      answer_together(group, answers, [&](const auto& part) { answer_group(prepared, part, answers); });
    }
    return answers;
  }

 private:
  /// Updates `config` and prints each warning once, however many requests bring it. Throws ConfigError.
  void update(GenerationConfig& config, const std::string& json, const char* source) {
    std::vector<std::string> warnings = config.update(json, source);
    if (config.output_logits.value_or(false)) {
      warnings.push_back(std::string(source) + ".output_logits: has no effect here: answers have no logits");
      config.output_logits.reset();
    }
    warn(std::move(warnings));
  }

  void warn(std::vector<std::string> warnings) {
    std::erase_if(warnings, [this](const std::string& warning) { return !warned_.insert(warning).second; });
    report_warnings(warnings, options_);
  }

  /// What only the call could tell; the rest was reported with the options that brought it.
  void warn_of_call(const GenerateOutput& output, const GenerationConfig& config) {
    std::vector<std::string> warnings = output.warnings;
    const std::vector<std::string> known = config.validate();
    std::erase_if(warnings,
                  [&](const auto& warning) { return std::find(known.begin(), known.end(), warning) != known.end(); });
    warn(std::move(warnings));
  }

  Prepared prepare(const Json& request) {
    Prepared prepared;
    prepared.config = defaults_;
    if (const Json* given = find_field(request, "generation")) {
      update(prepared.config, dump_line(*given), "generation");
    }
    prepared.source = read_long_source(request, coder_, options_, session_.model().config().encoder.max_length());
    prepared.with_scores = prepared.config.output_scores.value_or(false);
    prepared.config.output_scores.reset();  // answers have the chosen tokens' alone
    const GenerationConfig& config = prepared.config;
    const auto start = config.decoder_start_token_id ? config.decoder_start_token_id : config.bos_token_id;
    if (!start) throw ConfigError("decoder_start_token_id: expected it or bos_token_id to be set, got neither");
    // The start token goes in front of ids that lack it here, request by request: transformers' rule looks at the whole
    // batch, and no request may depend on the others.
    prepared.prompt = ids_field(request, "decoder_input_ids").value_or(TokenIds{});
    if (prepared.prompt.empty() || prepared.prompt.front() != *start) {
      prepared.prompt.insert(prepared.prompt.begin(), *start);
    }
    return prepared;
  }

  Answer empty_answer(const Prepared& prepared) const {
    Answer answer;
    add_windows(prepared.source, answer);
    answer.fields["sequences"] = Json::array();
    for (std::size_t i = 0; i < prepared.config.num_return_sequences.value_or(1); ++i) {
      answer.fields["sequences"].push_back(
          {{"ids", Json::array({prepared.prompt.front()})}, {"text", ""}, {"score", 0.0}});
    }
    return answer;
  }

  /// One generate for all of the group.
  void answer_group(const std::vector<Prepared>& prepared, const std::vector<std::size_t>& group,
                    std::vector<Answer>& answers) {
    GenerateInputs inputs;
    for (std::size_t i : group) {
      for (std::size_t window = 0; const Source& source : prepared[i].source.sources) {
        inputs.input_ids.push_back(source.input_ids);
        inputs.attention_mask.push_back(source.attention_mask);
        inputs.token_type_ids.push_back(source.token_type_ids);
        inputs.decoder_input_ids.push_back(prepared[i].prompt);
        inputs.requests.push_back(window_request(prepared[i].number, window++));
      }
    }
    const GenerateOutput output = session_.generate(inputs, prepared[group.front()].config, arguments_);
    warn_of_call(output, prepared[group.front()].config);
    const std::size_t each = output.sequences.size() / inputs.input_ids.size();
    const GeneratedSequence* next = output.sequences.data();
    for (std::size_t i : group) {
      const std::size_t windows = prepared[i].source.sources.size();
      answers[i] = to_answer({next, windows * each}, windows, prepared[i]);
      next += windows * each;
    }
  }

  /// Puts the sequence of a text's window, and its text, behind those of the windows before.
  void append(const GeneratedSequence& part, GeneratedSequence& joined, std::string& text) const {
    const auto append_all = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append_all(joined.ids, part.ids);
    append_all(joined.token_log_probs, part.token_log_probs);
    append_all(joined.beam_indices, part.beam_indices);
    joined.score += part.score;
    joined.steps += part.steps;
    if (!coder_.tokenizer) return;
    const std::string words = coder_.decode(part.ids);
    if (!text.empty() && !words.empty()) text += ' ';
    text += words;
  }

  static void add_scores(const GeneratedSequence& sequence, const GenerationConfig& config, Json& object) {
    object["token_logprobs"] = Json::array();
    for (double log_prob : sequence.token_log_probs) object["token_logprobs"].push_back(finite(log_prob));
    object["steps"] = sequence.steps;
    const std::size_t beams = config.num_beams.value_or(1);
    if (beams == 1) return;
    object["beam_indices"] = Json::array();  // of this request's beams, whatever its batch
    for (std::size_t row : sequence.beam_indices) object["beam_indices"].push_back(row % beams);
  }

  /// What was read of a text that may be too long.
  static void add_windows(const LongSource& source, Answer& answer) {
    if (source.windows.empty()) return;
    const auto range = [](const TextRange& part) { return Json::array({part.begin, part.end}); };
    answer.fields["windows"] = Json::array();
    for (const TextRange& window : source.windows) answer.fields["windows"].push_back(range(window));
    if (source.cut.begin == source.cut.end) return;
    answer.fields["cut"] = range(source.cut);
    answer.warning = "its bytes from " + std::to_string(source.cut.begin) + " to " + std::to_string(source.cut.end) +
                     " were not read";
  }

  /// sequences: those of the first window, then those of the next.
  Answer to_answer(std::span<const GeneratedSequence> sequences, std::size_t windows, const Prepared& prepared) const {
    Answer answer;
    add_windows(prepared.source, answer);
    answer.fields["sequences"] = Json::array();
    const std::size_t each = sequences.size() / windows;
    for (std::size_t i = 0; i < each; ++i) {
      GeneratedSequence sequence;
      std::string text;
      for (std::size_t w = 0; w < windows; ++w) append(sequences[w * each + i], sequence, text);
      Json object = {{"ids", sequence.ids}, {"score", finite(sequence.score)}};
      if (coder_.tokenizer) object["text"] = std::move(text);
      if (prepared.with_scores) add_scores(sequence, prepared.config, object);
      answer.fields["sequences"].push_back(std::move(object));
    }
    // Without a tokenizer plain mode has only ids to show.
    const Json& best = answer.fields["sequences"][0];
    answer.plain = coder_.tokenizer ? best["text"].get<std::string>() : dump_line(best["ids"]);
    return answer;
  }

  const Options& options_;
  TextCoder coder_;
  Session session_;
  std::optional<EncoderDecoderModel> assistant_;
  GenerateArguments<float> arguments_;
  GenerationConfig defaults_;
  std::uint64_t answered_ = 0;
  std::set<std::string> warned_;
};

}  // namespace

int run_generate(const Options& options) {
  const std::filesystem::path directory =
      options.model.empty() ? shipped_checkpoint() : std::filesystem::path(options.model);
  GenerateHandler handler(options, directory);
  try {
    handler.apply_command_line();
  } catch (const ConfigError& error) {
    report(error.what());
    return wrong_usage;
  }
  return run_requests(options, handler);
}

}  // namespace bertgen::cli
