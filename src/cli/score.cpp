#include "model.hpp"

namespace bertgen::cli {
namespace {

class ScoreHandler final : public Handler {
 public:
  explicit ScoreHandler(const Options& options)
      : coder_(options.model, options),
        session_(std::make_shared<const EncoderDecoderModel>(
                     EncoderDecoderModel::from_pretrained(options.model, load_options(options))),
                 options.threads) {
    report_warnings(session_.model().warnings(), options);
  }

  std::vector<Answer> answer(const std::vector<Json>& requests) override {
    std::vector<Pair> pairs(requests.size());
    std::vector<Answer> answers = answer_each(requests, [&](const Json& request) {
      pairs[static_cast<std::size_t>(&request - requests.data())] = read(request);
      return Answer{};
    });
    std::vector<std::size_t> group;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (!answers[i].error) group.push_back(i);
    }
    if (group.empty()) return answers;
    answer_together(group, answers, [&](const auto& part) { score(pairs, part, answers); });
    return answers;
  }

 private:
  struct Pair {
    Source source;
    TokenIds labels;
  };

  Pair read(const Json& request) {
    Pair pair{read_source(request, coder_), {}};
    const auto target = text_field(request, "target");
    const auto labels = ids_field(request, "labels", /*negative_allowed=*/true);
    if (target.has_value() == labels.has_value()) {
      throw ArgumentError(std::string("request: expected labels or target, got ") + (target ? "both" : "neither"));
    }
    pair.labels = target ? coder_.encode_target(*target) : *labels;
    require_tokens(pair.source.input_ids, "text or input_ids");
    require_tokens(pair.labels, "target or labels");
    return pair;
  }

  /// One pass for all of the group.
  void score(const std::vector<Pair>& pairs, const std::vector<std::size_t>& group, std::vector<Answer>& answers) {
    EncoderDecoderInputs inputs;
    for (std::size_t i : group) {
      inputs.input_ids.push_back(pairs[i].source.input_ids);
      inputs.attention_mask.push_back(pairs[i].source.attention_mask);
      inputs.token_type_ids.push_back(pairs[i].source.token_type_ids);
      inputs.labels.push_back(pairs[i].labels);
    }
    const Seq2SeqLMOutput<float> output = session_.forward(inputs);
    std::span<const float> rest = output.label_log_probs;
    for (std::size_t i : group) {
      const TokenIds& labels = pairs[i].labels;
      const auto ignored = static_cast<std::size_t>(std::count(labels.begin(), labels.end(), ignored_label));
      answers[i] = to_answer(rest.first(labels.size() - ignored));
      rest = rest.subspan(labels.size() - ignored);
    }
  }

  static Answer to_answer(std::span<const float> log_probs) {
    Answer answer;
    double sum = 0;
    answer.fields["token_logprobs"] = Json::array();
    for (float log_prob : log_probs) {
      answer.fields["token_logprobs"].push_back(finite(log_prob));
      sum += log_prob;
    }
    answer.fields["logprob"] = finite(sum);
    answer.fields["loss"] = -finite(-cross_entropy<float>(log_probs));
    return answer;
  }

  TextCoder coder_;
  Session session_;
};

}  // namespace

int run_score(const Options& options) {
  ScoreHandler handler(options);
  return run_requests(options, handler);
}

}  // namespace bertgen::cli
