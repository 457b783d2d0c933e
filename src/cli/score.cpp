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
    return answer_each(requests, [this](const Json& request) { return score(request); });
  }

 private:
  Answer score(const Json& request) {
    Source source = read_source(request, coder_);
    const auto target = text_field(request, "target");
    auto labels = ids_field(request, "labels", /*negative_allowed=*/true);
    if (target.has_value() == labels.has_value()) {
      throw ArgumentError(std::string("request: expected labels or target, got ") + (target ? "both" : "neither"));
    }
    if (target) labels = coder_.encode_target(*target);
    require_tokens(source.input_ids, "text or input_ids");
    require_tokens(*labels, "target or labels");
    EncoderDecoderInputs inputs;
    inputs.input_ids.push_back(std::move(source.input_ids));
    inputs.attention_mask.push_back(std::move(source.attention_mask));
    inputs.token_type_ids.push_back(std::move(source.token_type_ids));
    inputs.labels.push_back(std::move(*labels));
    const Seq2SeqLMOutput<float> output = session_.forward(inputs);
    Answer answer;
    double sum = 0;
    answer.fields["token_logprobs"] = Json::array();
    for (float log_prob : output.label_log_probs) {
      answer.fields["token_logprobs"].push_back(finite(log_prob));
      sum += log_prob;
    }
    answer.fields["logprob"] = finite(sum);
    answer.fields["loss"] = -finite(-*output.loss);
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
