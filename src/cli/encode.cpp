#include <algorithm>

#include "bertgen/io/mapped_file.hpp"
#include "model.hpp"

namespace bertgen::cli {
namespace {

/// The encoder of a directory, be it an encoder's own or an encoder-decoder's.
std::shared_ptr<const Encoder> load_encoder(const Options& options) {
  const CheckpointFiles files = find_checkpoint(options.model);
  const Json config = Json::parse(read_text_file(files.config), nullptr, false);
  if (config.is_object() && !config.contains("encoder") && !config.contains("decoder")) {
    return std::make_shared<const Encoder>(Encoder::from_pretrained(options.model, load_options(options)));
  }
  const auto model = std::make_shared<const EncoderDecoderModel>(
      EncoderDecoderModel::from_pretrained(options.model, load_options(options)));
  report_warnings(model->warnings(), options);
  return {model, &model->encoder()};
}

class EncodeHandler final : public Handler {
 public:
  explicit EncodeHandler(const Options& options)
      : options_(options),
        coder_(options.model, options),
        encoder_(load_encoder(options)),
        workspace_(options.threads) {}

  std::vector<Answer> answer(const std::vector<Json>& requests) override {
    return answer_each(requests, [this](const Json& request) { return encode(request); });
  }

 private:
  Answer encode(const Json& request) {
    const Source source = read_source(request, coder_);
    require_tokens(source.input_ids, "text or input_ids");
    const std::string pooling = text_field(request, "pooling").value_or(options_.pooling);
    if (pooling != "none" && pooling != "mean" && pooling != "cls") {
      throw ArgumentError("pooling: expected \"none\", \"mean\" or \"cls\", got \"" + pooling + "\"");
    }
    const std::vector<TokenIds> ids = {source.input_ids};
    const std::vector<AttentionMask> mask = {source.attention_mask};
    const std::vector<TokenIds> types = {source.token_type_ids};
    const Tensor<float> states = encoder_->forward(ids, mask, workspace_, types);  // [length, hidden]
    Answer answer;
    if (pooling == "none") {
      answer.fields["last_hidden_state"] = Json::array();
      for (std::size_t i = 0; i < states.shape().rows(); ++i) {
        answer.fields["last_hidden_state"].push_back(row(states, i));
      }
    } else {
      answer.fields["embedding"] = pooling == "cls" ? row(states, 0) : mean(states, source.attention_mask);
    }
    return answer;
  }

  static std::vector<float> row(const Tensor<float>& states, std::size_t index) {
    const float* values = states.view().row(index);
    return {values, values + states.shape().cols()};
  }

  /// Mean over the positions that the mask shows.
  static std::vector<float> mean(const Tensor<float>& states, const AttentionMask& mask) {
    std::vector<float> sum(states.shape().cols());
    std::size_t count = 0;
    for (std::size_t i = 0; i < states.shape().rows(); ++i) {
      if (!mask.empty() && mask[i] == 0) continue;
      ++count;
      for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += states.view().row(i)[j];
    }
    for (float& value : sum) value /= static_cast<float>(std::max<std::size_t>(1, count));
    return sum;
  }

  const Options& options_;
  TextCoder coder_;
  std::shared_ptr<const Encoder> encoder_;
  Workspace workspace_;
};

}  // namespace

int run_encode(const Options& options) {
  EncodeHandler handler(options);
  return run_requests(options, handler);
}

}  // namespace bertgen::cli
