// The C interface over the C++ library: arguments are checked, exceptions become statuses, nothing is computed here.
#include "bertgen/bertgen.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bertgen/bertgen.hpp"

struct bertgen_model {
  std::shared_ptr<const bertgen::EncoderDecoderModel> model;
  bertgen::EncoderDecoderTokenizers tokenizers;  ///< null where the directory has none
  std::string warnings;
};

struct bertgen_session {
  bertgen_session(const bertgen_model& of, int threads) : tokenizers(of.tokenizers), session(of.model, threads) {}

  bertgen::EncoderDecoderTokenizers tokenizers;
  bertgen::Session session;
  std::mutex mutex;  ///< of what follows
  bool cancelled = false;
  std::stop_source cancel;  ///< the next call replaces it after a reset, which cannot: it must not allocate
};

struct bertgen_output {
  struct Sequence {
    bertgen::TokenIds ids;
    std::string text;
    double score = 0;
  };
  std::vector<Sequence> sequences;
  bool has_text = false;
  std::string warnings;
};

namespace {

using namespace bertgen;

/// The status of the exception that is being handled, and its text.
bertgen_status current_status(const char*& text) noexcept {
  text = "an exception that is none of the standard library's";
  try {
    throw;
  } catch (const std::bad_alloc&) {
    text = nullptr;
    return BERTGEN_ERROR_MEMORY;
  } catch (const std::exception& error) {
    text = error.what();  // as long as the exception lives, which is until our caller's handler ends
    if (dynamic_cast<const ArgumentError*>(&error) != nullptr) return BERTGEN_ERROR_ARGUMENT;
    if (dynamic_cast<const ShapeError*>(&error) != nullptr) return BERTGEN_ERROR_SHAPE;
    if (dynamic_cast<const ConfigError*>(&error) != nullptr) return BERTGEN_ERROR_CONFIG;
    if (dynamic_cast<const CheckpointError*>(&error) != nullptr) return BERTGEN_ERROR_CHECKPOINT;
    if (dynamic_cast<const TokenizerError*>(&error) != nullptr) return BERTGEN_ERROR_TOKENIZER;
    if (dynamic_cast<const CancelledError*>(&error) != nullptr) return BERTGEN_ERROR_CANCELLED;
  } catch (...) {
  }
  return BERTGEN_ERROR_INTERNAL;
}

/// Memory for bertgen_free(), of at least one byte; null where there is none.
template <typename Value>
Value* copy_of(const Value* values, std::size_t count, std::size_t spare) noexcept {
  auto* copy = static_cast<Value*>(std::calloc(count + spare, sizeof(Value)));
  if (copy != nullptr && count > 0) std::memcpy(copy, values, count * sizeof(Value));
  return copy;
}

char* new_string(std::string_view text) {
  char* copy = copy_of(text.data(), text.size(), 1);
  if (copy == nullptr) throw std::bad_alloc();
  return copy;
}

/// Runs a function; its exception becomes the status and the message.
template <typename Function>
bertgen_status guarded(char** message, Function&& function) noexcept {
  if (message != nullptr) *message = nullptr;
  try {
    function();
    return BERTGEN_OK;
  } catch (...) {
    const char* text = nullptr;
    const bertgen_status status = current_status(text);
    if (message != nullptr && text != nullptr) *message = copy_of(text, std::strlen(text), 1);
    return status;
  }
}

/// What an argument points to. Throws ArgumentError if it is null.
template <typename Value>
Value& given(Value* argument, const char* name) {
  if (argument == nullptr) throw ArgumentError(std::string(name) + ": expected a pointer, got NULL");
  return *argument;
}

/// Where a result goes, emptied. Throws ArgumentError if it is null.
template <typename Value>
Value& result(Value* argument, const char* name) {
  return given(argument, name) = {};
}

std::string text_argument(const char* text, const char* name) { return &given(text, name); }

std::string lines(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : "\n") + text;
  return all;
}

const Tokenizer& require(const std::shared_ptr<const Tokenizer>& tokenizer) {
  if (!tokenizer) throw TokenizerError("model: expected one with the files of a tokenizer, got one without");
  return *tokenizer;
}

TokenIds encode(const std::shared_ptr<const Tokenizer>& tokenizer, const std::string& text, bool add_special_tokens) {
  return require(tokenizer).encode(text, {.add_special_tokens = add_special_tokens}).input_ids;
}

std::optional<DType> compute_type(int dtype) {
  switch (dtype) {
    case BERTGEN_DTYPE_AUTO:
      return std::nullopt;
    case BERTGEN_DTYPE_F32:
      return DType::f32;
    case BERTGEN_DTYPE_BF16:
      return DType::bf16;
    case BERTGEN_DTYPE_INT8:
      return DType::i8;
  }
  throw ArgumentError("dtype: expected a value of bertgen_dtype, got " + std::to_string(dtype));
}

/// The caller's callback as a streamer of one row.
class Stream {
 public:
  Stream(bertgen_on_text on_text, void* user_data, std::size_t row, std::stop_source& stop,
         std::shared_ptr<const Tokenizer> tokenizer)
      : streamer_(std::move(tokenizer), [=, this, &stop](const std::string& text, bool) {
          if (ended_ || text.empty()) return;
          ended_ = true;  // if it throws, it is not called again
          ended_ = on_text(user_data, row, text.data(), text.size()) != 0;
          if (ended_) stop.request_stop();
        }) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  BaseStreamer* streamer() { return &streamer_; }

 private:
  bool ended_ = false;
  TextStreamer streamer_;
};

/// One call of generate().
class Generation {
 public:
  /// Throws ConfigError for options that do not hold.
  Generation(bertgen_session& session, const char* options)
      : session_(session), config_(session.session.model().generation_config()), output_(new bertgen_output) {
    if (options != nullptr) warnings_ = config_.update(options, "options");
    // There is no way to ask an output for these, and they are large.
    if (config_.output_scores.value_or(false)) warnings_.emplace_back("options.output_scores: has no effect here");
    if (config_.output_logits.value_or(false)) warnings_.emplace_back("options.output_logits: has no effect here");
    config_.output_scores.reset();
    config_.output_logits.reset();
    if (config_.stop_strings) require(session_.tokenizers.decoder);
    output_->has_text = session_.tokenizers.decoder != nullptr;
  }

  void stream_to(bertgen_on_text on_text, void* user_data) {
    if (on_text == nullptr) return;
    require(session_.tokenizers.decoder);
    on_text_ = on_text;
    user_data_ = user_data;
  }

  /// `may_be_empty`: rows without ids are answered by the start token alone.
  std::unique_ptr<bertgen_output> run(std::vector<TokenIds> rows, bool may_be_empty) {
    std::vector<std::size_t> taken;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      if (!may_be_empty || !rows[row].empty()) taken.push_back(row);
    }
    const std::vector<GeneratedSequence> sequences = generate(rows, taken);
    const std::size_t copies = config_.num_return_sequences.value_or(1);
    std::size_t next = 0;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      const bool empty = next == taken.size() || taken[next] != row;
      for (std::size_t i = 0; i < copies; ++i) add(empty ? empty_answer() : sequences[next * copies + i]);
      if (!empty) ++next;
    }
    output_->warnings = lines(warnings_);
    return std::move(output_);
  }

 private:
  std::vector<GeneratedSequence> generate(std::vector<TokenIds>& rows, const std::vector<std::size_t>& taken) {
    if (taken.empty()) return {};
    GenerateInputs inputs;
    GenerateArguments<float> arguments;
    std::vector<std::unique_ptr<Stream>> streams;
    std::stop_source stop;
    for (std::size_t row : taken) {
      inputs.input_ids.push_back(std::move(rows[row]));
      inputs.requests.push_back(row);
      if (on_text_ == nullptr) continue;
      streams.push_back(std::make_unique<Stream>(on_text_, user_data_, row, stop, session_.tokenizers.decoder));
      arguments.streamers.push_back(streams.back()->streamer());
    }
    arguments.stop_token = stop.get_token();
    if (const auto& tokenizer = session_.tokenizers.decoder) {
      arguments.token_text = [&tokenizer](TokenId id) { return tokenizer->token_text(id); };
    }
    {
      const std::lock_guard lock(session_.mutex);
      if (session_.cancel.stop_requested() && !session_.cancelled) session_.cancel = std::stop_source();
      arguments.cancel_token = session_.cancel.get_token();
    }
    GenerateOutput output = session_.session.generate(inputs, config_, arguments);
    // Those of the options came with them; those of the checkpoint's own are the loader's.
    const std::vector<std::string> known = config_.validate();
    for (std::string& warning : output.warnings) {
      if (std::find(known.begin(), known.end(), warning) == known.end()) warnings_.push_back(std::move(warning));
    }
    return std::move(output.sequences);
  }

  GeneratedSequence empty_answer() const {
    const auto start = config_.decoder_start_token_id ? config_.decoder_start_token_id : config_.bos_token_id;
    return {start ? TokenIds{*start} : TokenIds{}};
  }

  void add(const GeneratedSequence& sequence) {
    bertgen_output::Sequence added{sequence.ids, {}, sequence.score};
    if (output_->has_text) {
      added.text = session_.tokenizers.decoder->decode(sequence.ids, {.skip_special_tokens = true});
    }
    output_->sequences.push_back(std::move(added));
  }

  bertgen_session& session_;
  GenerationConfig config_;
  std::unique_ptr<bertgen_output> output_;
  std::vector<std::string> warnings_;
  bertgen_on_text on_text_ = nullptr;
  void* user_data_ = nullptr;
};

bool adds_special_tokens(const EncoderDecoderModel& model) { return model.config().encoder.adds_special_tokens(); }

std::unique_ptr<bertgen_output> generate_texts(bertgen_session& session, const char* const* texts, std::size_t count,
                                               const char* options, bertgen_on_text on_text, void* user_data) {
  Generation generation(session, options);
  generation.stream_to(on_text, user_data);
  std::vector<TokenIds> rows;
  for (std::size_t row = 0; row < count; ++row) {
    rows.push_back(encode(session.tokenizers.encoder, text_argument((&given(texts, "texts"))[row], "texts"),
                          adds_special_tokens(session.session.model())));
  }
  return generation.run(std::move(rows), true);
}

const bertgen_output::Sequence* sequence_at(const bertgen_output* output, std::size_t index) {
  return output == nullptr || index >= output->sequences.size() ? nullptr : &output->sequences[index];
}

}  // namespace

int bertgen_abi_version() { return BERTGEN_ABI_VERSION; }

const char* bertgen_version() { return BERTGEN_VERSION; }

const char* bertgen_status_name(int status) {
  switch (status) {
    case BERTGEN_OK:
      return "ok";
    case BERTGEN_ERROR_ARGUMENT:
      return "argument";
    case BERTGEN_ERROR_SHAPE:
      return "shape";
    case BERTGEN_ERROR_CONFIG:
      return "config";
    case BERTGEN_ERROR_CHECKPOINT:
      return "checkpoint";
    case BERTGEN_ERROR_TOKENIZER:
      return "tokenizer";
    case BERTGEN_ERROR_CANCELLED:
      return "cancelled";
    case BERTGEN_ERROR_MEMORY:
      return "memory";
    case BERTGEN_ERROR_INTERNAL:
      return "internal";
  }
  return "unknown";
}

void bertgen_free(void* memory) { std::free(memory); }

bertgen_status bertgen_model_load(const char* directory, int dtype, unsigned int flags, bertgen_model** model,
                                  char** message) {
  return guarded(message, [&] {
    result(model, "model");
    const std::filesystem::path path = text_argument(directory, "directory");
    if ((flags & ~BERTGEN_LOAD_COPY) != 0) {
      throw ArgumentError("flags: expected 0 or BERTGEN_LOAD_COPY, got " + std::to_string(flags));
    }
    LoadOptions options;
    options.build.dtype = compute_type(dtype);
    options.build.threads = physical_cores();
    options.file_access = (flags & BERTGEN_LOAD_COPY) != 0 ? FileAccess::copy : FileAccess::map;
    auto loaded = std::make_unique<bertgen_model>();
    loaded->tokenizers = EncoderDecoderTokenizers::from_pretrained(path);
    loaded->model = std::make_shared<const EncoderDecoderModel>(EncoderDecoderModel::from_pretrained(path, options));
    loaded->warnings = lines(loaded->model->warnings());
    *model = loaded.release();
  });
}

void bertgen_model_free(bertgen_model* model) { delete model; }

const char* bertgen_model_warnings(const bertgen_model* model) {
  return model == nullptr ? nullptr : model->warnings.c_str();
}

bertgen_status bertgen_tokenize(const bertgen_model* model, const char* text, int add_special_tokens, int32_t** ids,
                                size_t* count, char** message) {
  return guarded(message, [&] {
    result(ids, "ids");
    result(count, "count");
    const bool adds =
        add_special_tokens < 0 ? adds_special_tokens(*given(model, "model").model) : add_special_tokens != 0;
    const TokenIds encoded = encode(given(model, "model").tokenizers.encoder, text_argument(text, "text"), adds);
    *ids = copy_of(encoded.data(), encoded.size(), 1);
    if (*ids == nullptr) throw std::bad_alloc();
    *count = encoded.size();
  });
}

bertgen_status bertgen_detokenize(const bertgen_model* model, const int32_t* ids, size_t count, int skip_special_tokens,
                                  char** text, size_t* length, char** message) {
  return guarded(message, [&] {
    result(text, "text");
    if (length != nullptr) *length = 0;
    const Tokenizer& tokenizer = require(given(model, "model").tokenizers.decoder);
    if (count > 0) given(ids, "ids");
    const std::string decoded =
        tokenizer.decode(TokenIds(ids, ids + count), {.skip_special_tokens = skip_special_tokens != 0});
    *text = new_string(decoded);
    if (length != nullptr) *length = decoded.size();
  });
}

bertgen_status bertgen_session_create(const bertgen_model* model, int threads, bertgen_session** session,
                                      char** message) {
  return guarded(message, [&] {
    result(session, "session");
    *session = new bertgen_session(given(model, "model"), threads == 0 ? physical_cores() : threads);
  });
}

void bertgen_session_free(bertgen_session* session) { delete session; }

void bertgen_session_cancel(bertgen_session* session) {
  if (session == nullptr) return;
  const std::lock_guard lock(session->mutex);
  session->cancelled = true;
  session->cancel.request_stop();
}

void bertgen_session_reset(bertgen_session* session) {
  if (session == nullptr) return;
  const std::lock_guard lock(session->mutex);
  session->cancelled = false;
}

bertgen_status bertgen_generate_text(bertgen_session* session, const char* text, const char* options, char** answer,
                                     char** message) {
  return guarded(message, [&] {
    result(answer, "answer");
    given(text, "text");
    const auto output = generate_texts(given(session, "session"), &text, 1, options, nullptr, nullptr);
    *answer = new_string(output->sequences.front().text);
  });
}

bertgen_status bertgen_generate(bertgen_session* session, const char* const* texts, size_t count, const char* options,
                                bertgen_on_text on_text, void* user_data, bertgen_output** output, char** message) {
  return guarded(message, [&] {
    result(output, "output");
    *output = generate_texts(given(session, "session"), texts, count, options, on_text, user_data).release();
  });
}

bertgen_status bertgen_generate_ids(bertgen_session* session, const int32_t* const* ids, const size_t* lengths,
                                    size_t count, const char* options, bertgen_on_text on_text, void* user_data,
                                    bertgen_output** output, char** message) {
  return guarded(message, [&] {
    result(output, "output");
    Generation generation(given(session, "session"), options);
    generation.stream_to(on_text, user_data);
    std::vector<TokenIds> rows;
    for (std::size_t row = 0; row < count; ++row) {
      const std::size_t length = (&given(lengths, "lengths"))[row];
      const int32_t* first = (&given(ids, "ids"))[row];
      if (length > 0) given(first, "ids");
      rows.emplace_back(first, first + length);
    }
    *output = generation.run(std::move(rows), false).release();
  });
}

size_t bertgen_output_count(const bertgen_output* output) { return output == nullptr ? 0 : output->sequences.size(); }

const char* bertgen_output_text(const bertgen_output* output, size_t index, size_t* length) {
  if (length != nullptr) *length = 0;
  const auto* sequence = sequence_at(output, index);
  if (sequence == nullptr || !output->has_text) return nullptr;
  if (length != nullptr) *length = sequence->text.size();
  return sequence->text.c_str();
}

const int32_t* bertgen_output_ids(const bertgen_output* output, size_t index, size_t* count) {
  const auto* sequence = sequence_at(output, index);
  if (count != nullptr) *count = sequence == nullptr ? 0 : sequence->ids.size();
  return sequence == nullptr ? nullptr : sequence->ids.data();
}

double bertgen_output_score(const bertgen_output* output, size_t index) {
  const auto* sequence = sequence_at(output, index);
  return sequence == nullptr ? 0 : sequence->score;
}

const char* bertgen_output_warnings(const bertgen_output* output) {
  return output == nullptr ? nullptr : output->warnings.c_str();
}

void bertgen_output_free(bertgen_output* output) { delete output; }

bertgen_status bertgen_score(bertgen_session* session, const char* text, const char* target, double* log_probability,
                             size_t* count, char** message) {
  return guarded(message, [&] {
    result(log_probability, "log_probability");
    if (count != nullptr) *count = 0;
    const EncoderDecoderTokenizers& tokenizers = given(session, "session").tokenizers;
    const bool adds = adds_special_tokens(session->session.model());
    EncoderDecoderInputs inputs;
    inputs.input_ids = {encode(tokenizers.encoder, text_argument(text, "text"), adds)};
    inputs.labels = {encode(tokenizers.decoder, text_argument(target, "target"), adds)};
    for (const auto& [name, ids] : {std::pair{"text", &inputs.input_ids[0]}, {"target", &inputs.labels[0]}}) {
      if (ids->empty()) throw ArgumentError(std::string(name) + ": expected at least one token, got none");
    }
    const Seq2SeqLMOutput<float> output = session->session.forward(inputs);
    for (float log_probability_of_token : output.label_log_probs) *log_probability += log_probability_of_token;
    if (count != nullptr) *count = output.label_log_probs.size();
  });
}
