// Models to directories.
#include "bertgen/generation/config.hpp"
#include "bertgen/models/encoder_decoder.hpp"
#include "io/write_checkpoint.hpp"

namespace bertgen {
namespace {

/// The config.json of a half by itself.
Json config_of(const TransformerConfig& config, std::string_view architecture) {
  Json object = Json::parse(config.to_json());
  object["architectures"] = {architecture};
  return object;
}

}  // namespace

template <typename T>
void BasicEncoder<T>::save_pretrained(const std::filesystem::path& directory, const SaveOptions& options) const {
  write_checkpoint(directory, {config_of(config_, config_.family().encoder_class), {}, tensors_}, options);
}

template <typename T>
void BasicDecoder<T>::save_pretrained(const std::filesystem::path& directory, const SaveOptions& options) const {
  write_checkpoint(directory, {config_of(config_, config_.family().decoder_class), {}, tensors_}, options);
}

template <typename T>
void BasicEncoderDecoderModel<T>::save_pretrained(const std::filesystem::path& directory,
                                                  const SaveOptions& options) const {
  write_checkpoint(directory, {Json::parse(config_.to_json()), generation_config_->to_json() + "\n", tensors()},
                   options);
}

template void BasicEncoder<float>::save_pretrained(const std::filesystem::path&, const SaveOptions&) const;
template void BasicEncoder<double>::save_pretrained(const std::filesystem::path&, const SaveOptions&) const;
template void BasicDecoder<float>::save_pretrained(const std::filesystem::path&, const SaveOptions&) const;
template void BasicDecoder<double>::save_pretrained(const std::filesystem::path&, const SaveOptions&) const;
template void BasicEncoderDecoderModel<float>::save_pretrained(const std::filesystem::path&, const SaveOptions&) const;
template void BasicEncoderDecoderModel<double>::save_pretrained(const std::filesystem::path&, const SaveOptions&) const;

}  // namespace bertgen
