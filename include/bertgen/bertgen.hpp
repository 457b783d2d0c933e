// Everything of the library. A sentence fuser in a few lines:
//
//   const auto model = bertgen::EncoderDecoderModel::from_pretrained("fuse-en");
//   const auto tokenizer = bertgen::AutoTokenizer::from_pretrained("fuse-en");
//
//   const auto source = tokenizer->encode("This is the first sentence. This is the second sentence.");
//   const auto output = model.generate({source.input_ids});
//   std::cout << tokenizer->decode(output.sequences[0].ids, {.skip_special_tokens = true}) << "\n";
//
// A program that generates often, or from several threads, gives each thread a bertgen::Session.
#pragma once

#include "bertgen/core/dtype.hpp"
#include "bertgen/core/error.hpp"
#include "bertgen/core/export.hpp"
#include "bertgen/core/isa.hpp"
#include "bertgen/core/tensor.hpp"
#include "bertgen/core/token.hpp"
#include "bertgen/generation/config.hpp"
#include "bertgen/generation/generate.hpp"
#include "bertgen/io/checkpoint.hpp"
#include "bertgen/io/convert.hpp"
#include "bertgen/models/config.hpp"
#include "bertgen/models/decoder.hpp"
#include "bertgen/models/encoder.hpp"
#include "bertgen/models/encoder_decoder.hpp"
#include "bertgen/pipelines/fuser.hpp"
#include "bertgen/pipelines/splitter.hpp"
#include "bertgen/pipelines/summarizer.hpp"
#include "bertgen/pipelines/text_streamer.hpp"
#include "bertgen/pipelines/translator.hpp"
#include "bertgen/runtime/scheduler.hpp"
#include "bertgen/runtime/session.hpp"
#include "bertgen/tokenizers/auto.hpp"
#include "bertgen/tokenizers/bert.hpp"
#include "bertgen/tokenizers/bert_generation.hpp"
#include "bertgen/tokenizers/roberta.hpp"

/// Encoder-decoders of the BERT family, from a checkpoint's folder to text. Unless a name says otherwise, const
/// functions may be called from several threads at once, errors are exceptions derived from Error, and after one
/// everything is as it was before the call; docs/design.md states these defaults.
namespace BERTGEN_PUBLIC bertgen {}
