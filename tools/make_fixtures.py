#!/usr/bin/env python3
"""Writes the model fixtures of tests/data/models: small random checkpoints and what transformers answers.

Each directory holds a checkpoint (config.json, model.safetensors, mostly generation_config.json),
`expected.safetensors` (float64 forward passes and their inputs) and `expected.json` (answers of `generate`).
Every draw is seeded: two runs write the same bytes. Needs transformers 5 and torch on a CPU.

    python tools/make_fixtures.py [--output tests/data/models] [--only NAME...]
"""
import argparse
import collections
import copy
import io
import itertools
import json
import pathlib
import random
import shutil
import warnings

import torch
import transformers
from safetensors.torch import load_file, save
from transformers import (BertConfig, BertForMaskedLM, BertGenerationConfig, BertGenerationDecoder,
                          BertGenerationEncoder, BertLMHeadModel, BertModel, EncoderDecoderConfig,
                          EncoderDecoderModel, RobertaConfig, RobertaForCausalLM, RobertaModel)

SEED = 20
GOOGLE = dict(pad=0, bos=2, eos=1, start=2)  # the ids of the published BertGeneration models


def half(hidden, layers, heads, intermediate, vocab, act="gelu", positions=32, **more):
    """The sizes of one half, under the names its sub-config uses, and its family if it is another one."""
    return dict(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, vocab_size=vocab,
                intermediate_size=intermediate, hidden_act=act, max_position_embeddings=positions, **more)


def bert(*sizes, **more):
    return half(*sizes, family="bert", **{"type_vocab_size": 2, **more})


def roberta(*sizes, **more):
    return half(*sizes, family="roberta", **{"type_vocab_size": 1, "layer_norm_eps": 1e-5, **more})


def case(enc, dec=None, ids=None, generation=None, top=None, mask="right", files="", dtype="float32"):
    """One encoder-decoder checkpoint; without `dec`, the decoder has the encoder's sizes.

    ids: special ids, for the top level and the sub-configs; generation: what generation_config.json says
    beyond them; top: keys added to config.json by hand; mask: the encoder mask of the forward passes; files:
    words that say how the files differ from what save_pretrained writes (`dress_config`, `dress_weights`).
    """
    return dict(enc=enc, dec=dec or enc, ids={**GOOGLE, **(ids or {})}, generation=generation or {},
                top=top or {}, mask=mask, files=files.split(), dtype=dtype)


EPS5, UNTIED = dict(layer_norm_eps=1e-5), dict(tie_word_embeddings=False)
SHARED = dict(tie_encoder_decoder=True)
CLS_SEP = dict(pad=0, bos=None, start=2, eos=3)
ROBERTA = dict(pad=1, bos=0, start=0, eos=2)
SUMMARY = dict(max_length=14, min_length=4, num_beams=4, length_penalty=2.0, no_repeat_ngram_size=3,
               early_stopping=True)
BEAMS = dict(num_beams=3, length_penalty=0.6, early_stopping="never", max_length=11)
PENALTIES = dict(repetition_penalty=1.3, no_repeat_ngram_size=2, min_length=4, max_length=10,
                 forced_eos_token_id=1)
CASES = {
    "plain": case(half(24, 1, 3, 32, 60), generation=dict(max_length=12)),
    "wide-encoder": case(half(40, 1, 4, 32, 40, "gelu_new"), half(16, 1, 2, 48, 50, "gelu_fast", 40),
                         mask="left"),
    "narrow-encoder": case(half(16, 2, 2, 40, 70, "gelu_pytorch_tanh", 64), half(24, 1, 4, 32, 44, "gelu_10"),
                           generation=dict(max_new_tokens=11), mask="holes"),
    "head-dim-5": case(half(20, 2, 4, 32, 48, "relu"), half(20, 1, 4, 40, 48, "relu2")),
    "head-dim-7": case(half(28, 1, 4, 32, 40, "quick_gelu"), half(16, 2, 2, 32, 40, "silu"), mask="left"),
    "one-head": case(half(16, 1, 1, 96, 50, "swish"), half(16, 2, 1, 32, 50, "mish"), dict(pad=3, start=4)),
    "untied": case(half(20, 1, 2, 48, 50, "tanh"), half(20, 1, 2, 48, 50, "relu6", **UNTIED), mask="holes"),
    "untied-two-eos": case(half(20, 1, 2, 32, 56, "leaky_relu"), half(16, 2, 2, 32, 56, "sigmoid", **UNTIED),
                           dict(eos=[1, 7])),
    "eps-1e-5": case(half(16, 2, 2, 32, 45, "linear", **EPS5), half(16, 2, 4, 32, 45, "hardswish", **EPS5),
                     dict(pad=1, bos=0, eos=2, start=0)),
    "bf16": case(half(24, 2, 4, 48, 64, "gelu_python"), dtype="bfloat16"),
    "f16": case(half(48, 1, 2, 32, 64), half(24, 1, 2, 48, 64), dict(pad=5), dtype="float16", mask="left"),
    "no-pad": case(half(16, 2, 2, 32, 40, "laplace"), half(16, 2, 2, 32, 40, "sqrtsoftplus"), dict(pad=None)),
    "start-is-pad": case(half(16, 2, 2, 32, 47, "gelu_accurate"), half(16, 2, 2, 32, 47, "gelu_python_tanh"),
                         dict(start=0)),
    "start-is-eos": case(half(20, 1, 2, 48, 51), half(20, 1, 2, 48, 51, "gelu_new"), dict(eos=2, bos=1)),
    "pad-is-eos": case(half(16, 1, 2, 32, 43), half(20, 1, 2, 32, 43, "relu"), dict(pad=1), mask="left"),
    "start-is-bos": case(half(16, 2, 4, 32, 60, "gelu_fast"), ids=dict(start=None, bos=6)),
    "three-eos": case(half(28, 1, 4, 32, 50), half(16, 1, 4, 32, 58, "silu"), dict(eos=[3, 1, 9], pad=8)),
    "beam-defaults": case(half(16, 3, 2, 32, 52), half(16, 1, 2, 32, 52), generation=BEAMS, mask="holes"),
    "processor-defaults": case(half(20, 1, 2, 48, 55), generation=PENALTIES),
    "no-generation-config": case(half(20, 1, 2, 32, 49), half(16, 2, 2, 32, 61), dict(pad=2, start=5),
                                 files="no-generation-config"),
    "large-vocab": case(half(16, 1, 2, 32, 40, "mish"), half(16, 1, 2, 32, 130, "tanh")),
    "v4": case(half(16, 2, 2, 32, 40), files="v4-config v4-names no-generation-config"),
    "v4-summary": case(half(16, 2, 4, 32, 50), half(16, 1, 4, 32, 50, "gelu_new"), top=SUMMARY,
                       files="v4-config v4-names no-generation-config"),
    "v4-both": case(half(16, 1, 2, 32, 66), half(16, 2, 2, 32, 66, **EPS5), top=dict(SUMMARY, num_beams=2),
                    generation=dict(max_length=9), files="v4-config underscore"),
    "decoder-ids": case(half(20, 1, 2, 48, 54, "gelu_10"), half(20, 1, 2, 48, 54), dict(start=4),
                        files="v4-config ids-below no-generation-config"),
    "shared": case(half(20, 2, 4, 48, 64), top=dict(SHARED, max_length=13, num_beams=4),
                   files="v4-config shared no-generation-config"),
    "shared-aliases": case(half(20, 2, 2, 48, 59, "relu"), top=SHARED, files="shared aliases"),
    "shared-both": case(half(16, 1, 2, 32, 44), top=SHARED, mask="left", files="v4-config v4-names tied"),
    # The nine pairs of families, each in every layout of files. bert2bert starts with CLS and ends with SEP.
    "pair-generation-generation": case(half(16, 1, 2, 24, 40), half(16, 1, 2, 24, 44), mask="left",
                                       files="layouts"),
    "pair-generation-bert": case(half(16, 1, 2, 24, 40), bert(16, 1, 2, 24, 44, "relu"), CLS_SEP,
                                 files="layouts"),
    "pair-generation-roberta": case(half(12, 1, 2, 24, 40), roberta(16, 1, 4, 24, 44, "relu", 34), ROBERTA,
                                    mask="holes", files="layouts"),
    "pair-bert-generation": case(bert(16, 1, 2, 24, 40, "gelu_new"), half(16, 1, 4, 24, 44), CLS_SEP,
                                 mask="left", files="layouts"),
    "pair-bert-bert": case(bert(16, 2, 4, 24, 44), bert(16, 1, 2, 24, 40), CLS_SEP, dict(num_beams=2),
                           mask="holes", files="layouts"),
    "pair-bert-roberta": case(bert(20, 1, 2, 24, 40), roberta(16, 1, 2, 24, 44, "gelu", 40), ROBERTA,
                              files="layouts"),
    "pair-roberta-generation": case(roberta(16, 1, 2, 24, 40, "gelu", 34), half(16, 1, 2, 24, 44), ROBERTA,
                                    files="layouts"),
    "pair-roberta-bert": case(roberta(16, 1, 2, 24, 40, "relu", 36, type_vocab_size=2),
                              bert(12, 1, 2, 24, 44, type_vocab_size=3, **UNTIED), dict(CLS_SEP, pad=4),
                              mask="left", files="layouts"),
    "pair-roberta-roberta": case(roberta(16, 1, 2, 24, 44, "silu", 34), roberta(16, 1, 2, 24, 40, "relu", 34),
                                 ROBERTA, mask="left", files="layouts"),
    "bert-shared": case(bert(20, 2, 4, 32, 64), ids=CLS_SEP, top=SHARED, files="v4-config shared"),
    "roberta-shared": case(roberta(20, 2, 4, 32, 64, "gelu", 34), ids=ROBERTA, top=SHARED,
                           files="v4-config shared aliases"),
    "bert-v4": case(bert(16, 2, 2, 32, 46), bert(20, 1, 2, 32, 46, "gelu_new", 40), CLS_SEP, top=SUMMARY,
                    files="v4-config v4-names no-generation-config"),
    "roberta-v4": case(roberta(16, 1, 2, 32, 46, "gelu", 34), roberta(16, 2, 2, 32, 52, "gelu", 40, **UNTIED),
                       ROBERTA, top=SUMMARY, files="v4-config v4-names no-generation-config"),
}
STANDALONE = {  # class, sizes and flags, mask of the forward pass, type of the file
    "encoder-only": (BertGenerationEncoder, half(32, 1, 4, 64, 60), "right", "float32"),
    "encoder-only-bf16": (BertGenerationEncoder, half(40, 2, 5, 48, 45, "gelu_new"), "holes", "bfloat16"),
    "decoder-causal": (BertGenerationDecoder, half(16, 3, 4, 32, 60, is_decoder=True), "right", "float32"),
    "decoder-bidirectional": (BertGenerationDecoder, half(24, 2, 2, 32, 50, "relu"), "left", "float32"),
    "decoder-causal-untied": (BertGenerationDecoder, half(16, 2, 1, 32, 50, is_decoder=True, **UNTIED),
                              "left", "float32"),
    "bert-encoder": (BertModel, bert(16, 2, 4, 32, 60), "holes", "float32"),
    "bert-decoder": (BertLMHeadModel, bert(16, 2, 4, 32, 50, "relu", is_decoder=True), "right", "float32"),
    "roberta-encoder": (RobertaModel, roberta(16, 2, 2, 32, 60, "gelu", 34), "left", "float32"),
    "roberta-decoder": (RobertaForCausalLM, roberta(16, 2, 2, 32, 50, "relu", 34, is_decoder=True), "left",
                        "float32"),
}
WARM = dict(bert(16, 2, 4, 32, 50))  # a BERT that halves of the BertGeneration family start from
CONFIGS = {"bert-generation": BertGenerationConfig, "bert": BertConfig, "roberta": RobertaConfig}
# What v4's save_pretrained wrote into each sub-config besides the model's own keys (a selection).
V4_DUMP = dict(
    _name_or_path="", bad_words_ids=None, chunk_size_feed_forward=0, cross_attention_hidden_size=None,
    decoder_start_token_id=None, diversity_penalty=0.0, do_sample=False, early_stopping=False,
    gradient_checkpointing=False, id2label={"0": "LABEL_0", "1": "LABEL_1"}, is_encoder_decoder=False,
    length_penalty=1.0, max_length=20, min_length=0, no_repeat_ngram_size=0, num_beam_groups=1, num_beams=1,
    num_return_sequences=1, position_embedding_type="absolute", pruned_heads={}, repetition_penalty=1.0,
    return_dict=True, temperature=1.0, tie_encoder_decoder=False, tokenizer_class=None, top_k=50, top_p=1.0,
    torch_dtype=None, torchscript=False, typical_p=1.0, use_bfloat16=False)


def call(name, style="right", prompt=None, **options):
    """One generate call. Strings in options stand for ids that matter to the batch (see `named_ids`)."""
    return dict(name=name, style=style, prompt=prompt, options=options)


EVERY = [call("defaults", "plain"), call("defaults/right-padding"), call("beam/4", num_beams=4),
         call("beam/all-returned", "left", num_beams=3, num_return_sequences=3),
         call("length/short", max_length=4, eos_token_id=None)]  # in every case
ROTATING = [  # dealt out to the cases in turn
    call("length/max_length", max_length=9), call("length/max_new_tokens", max_new_tokens=6),
    call("length/both", max_length=5, max_new_tokens=8), call("length/one-token", max_new_tokens=1),
    call("length/both-beam", max_length=9, max_new_tokens=4, num_beams=2),
    call("length/one-token-beam", max_length=2, num_beams=3, num_return_sequences=2),
    call("length/min_length", min_length=7, max_length=12), call("length/long", max_new_tokens=24),
    call("length/min_length-beam", min_length=6, max_length=11, num_beams=3),
    call("length/min_new_tokens", min_new_tokens=6, max_new_tokens=12),
    call("length/min_new_tokens-beam", min_new_tokens=5, max_new_tokens=9, num_beams=4),
    call("length/both-minima", min_new_tokens=3, min_length=7, max_new_tokens=10, num_beams=2),
    call("length/long-beam", max_length=26, num_beams=2),
    *[call(f"beam/{beams}-lp{penalty}-{early}", style, num_beams=beams, length_penalty=penalty,
           early_stopping=early, max_length=length, num_return_sequences=returned)
      for beams, penalty, early, length, returned, style in [
          (2, -1.0, True, 10, 2, "right"), (3, -1.0, False, 9, 1, "left"), (4, -1.0, "never", 8, 4, "right"),
          (5, 0.0, True, 9, 5, "plain"), (2, 0.0, False, 12, 1, "right"), (3, 0.0, "never", 10, 2, "holes"),
          (4, 0.6, True, 11, 2, "right"), (5, 0.6, False, 8, 3, "left"), (2, 0.6, "never", 9, 2, "plain"),
          (3, 1.0, True, 12, 3, "right"), (4, 1.0, False, 14, 4, "right"), (5, 1.0, "never", 10, 2, "right"),
          (2, 2.0, True, 14, 1, "holes"), (4, 2.0, False, 12, 4, "right"), (3, 2.0, "never", 11, 3, "left")]],
    *[call(f"ngram/{n}", no_repeat_ngram_size=n, max_length=14) for n in (1, 2, 3)],
    *[call(f"ngram/{n}-beam", num_beams=4, no_repeat_ngram_size=n, num_return_sequences=n)
      for n in (1, 2, 3)],
    call("eos/option", eos_token_id="said2", max_new_tokens=9),
    call("eos/option-list", eos_token_id=["said2", "eos0", "said1"], max_new_tokens=9),
    call("eos/option-beam", eos_token_id=["said1", "eos0"], num_beams=4, num_return_sequences=3),
    call("eos/none", eos_token_id=None, max_new_tokens=7),
    call("eos/none-beam", eos_token_id=None, max_new_tokens=6, num_beams=3, num_return_sequences=2),
    call("masks/holes", "holes"), call("masks/pads-seen", "pads"), call("batch/1", "plain 1"),
    call("masks/left", "left", max_new_tokens=10), call("batch/4", "right 4"),
    call("masks/holes-beam", "holes", num_beams=4, max_new_tokens=10),
    call("masks/pads-seen-beam", "pads", num_beams=3, max_new_tokens=9),
    call("batch/1-beam", "plain 1", num_beams=5, num_return_sequences=2),
    call("batch/4-beam", "right 4", num_beams=3, max_new_tokens=9),
    call("prompt/started", prompt="started", max_new_tokens=7),
    call("prompt/unstarted", prompt="unstarted", max_new_tokens=7),
    call("prompt/mixed", "right 3", "mixed", max_new_tokens=7),
    call("prompt/started-beam", prompt="started", length_penalty=2.0, num_return_sequences=2, num_beams=3),
    call("prompt/unstarted-beam", "left", "unstarted", early_stopping=True, num_beams=4),
    call("prompt/lengths", prompt="unstarted", max_length=11, min_length=7),
    call("prompt/minimum-beam", "right", "started", num_beams=3, min_new_tokens=4, no_repeat_ngram_size=2),
    call("ids/pad", pad_token_id="other"), call("ids/start", decoder_start_token_id="other"),
    call("ids/pad-beam", pad_token_id="other", num_return_sequences=2, num_beams=3),
    call("ids/start-beam", decoder_start_token_id="said0", num_beams=3, max_new_tokens=9),
]
PROCESSORS = dict(  # each becomes a greedy and a beam entry
    repetition_penalty=dict(repetition_penalty=1.8), repetition_reward=dict(repetition_penalty=0.7),
    encoder_repetition_penalty=dict(encoder_repetition_penalty=2.0),
    encoder_repetition_ban=dict(encoder_repetition_penalty=0.5),
    encoder_no_repeat_ngram_1=dict(encoder_no_repeat_ngram_size=1),
    encoder_no_repeat_ngram_2=dict(style="echo", encoder_no_repeat_ngram_size=2),
    bad_words_ids=dict(bad_words_ids=[["said0"], ["said1", "said2"], ["eos0"]]),
    sequence_bias=dict(sequence_bias=[[["said1"], -3.5], [["said0", "said1"], 2.25], [["other"], 1.5]]),
    forced_bos_token_id=dict(forced_bos_token_id="other"),
    forced_eos_token_id=dict(forced_eos_token_id="eos0", min_length=8),
    forced_eos_list=dict(forced_eos_token_id=["other", "eos0"]),
    suppress_tokens=dict(suppress_tokens=["said0", "said2"]),
    begin_suppress_tokens=dict(begin_suppress_tokens=["said0", "eos0"]),
    begin_after_forced=dict(begin_suppress_tokens=["said0", "said1", "said2"], forced_bos_token_id="other"),
    exponential_decay=dict(exponential_decay_length_penalty=[2, 1.4]),
    remove_invalid_values=dict(remove_invalid_values=True, bad_words_ids=[["said0"]], no_repeat_ngram_size=2),
    renormalize_logits=dict(renormalize_logits=True, repetition_penalty=1.5, suppress_tokens=["said1"]),
    many=dict(repetition_penalty=1.2, encoder_repetition_penalty=1.3, min_new_tokens=3,
              no_repeat_ngram_size=3, bad_words_ids=[["said0"]], exponential_decay_length_penalty=[4, 1.2],
              renormalize_logits=True, forced_eos_token_id="eos0"))
for label, chosen in PROCESSORS.items():
    label, chosen = f"processor/{label}", dict(chosen, max_new_tokens=9)
    ROTATING.append(call(label, num_beams=1, **chosen))
    if label != "processor/forced_eos_list":  # with beams an exact tie, whose order torch leaves open
        ROTATING.append(call(label + "-beam", num_beams=4, num_return_sequences=2, **chosen))
random.Random(SEED).shuffle(ROTATING)
PER_CASE = 13  # how many of ROTATING a case gets
ERRORS = {"greedy-returns-two": dict(num_beams=1, num_return_sequences=2),
          "more-returned-than-beams": dict(num_beams=2, num_return_sequences=3),
          "early_stopping-sometimes": dict(num_beams=2, early_stopping="sometimes"),
          "no-new-tokens": dict(max_new_tokens=0), "max_length-is-prompt": dict(max_length=1)}


def listed(value):
    return [] if value is None else value if isinstance(value, list) else [value]


def start_id(spec):
    return spec["ids"]["bos"] if spec["ids"]["start"] is None else spec["ids"]["start"]


def randomise(model, name):
    """Draws every parameter wide enough that outputs are far from flat and the answers wander.

    Chosen by trial: weak attention outputs and strong position embeddings keep a row from saying one token
    for ever, and so do word embeddings of one norm and a last LayerNorm with weights of both signs, since a
    tied head would else favour the token just read.
    """
    generator = torch.Generator().manual_seed(random.Random(f"{SEED} {name}").getrandbits(32))
    norms = ("output.LayerNorm.weight", "transform.LayerNorm.weight", "lm_head.layer_norm.weight")
    last = [key for key, _ in model.named_parameters() if key.endswith(norms)][-1]
    for key, tensor in model.named_parameters():
        noise = torch.randn(tensor.shape, generator=generator)
        if key.endswith(("LayerNorm.weight", "layer_norm.weight")):
            noise = 0.8 * (0.3 + noise) if key == last else 1 + 0.3 * noise
        elif tensor.dim() == 1:
            noise *= 0.3 if "lm_head" in key or "cls" in key else 0.1
        elif "word_embeddings" in key or "lm_head.decoder" in key or "predictions.decoder" in key:
            noise *= 0.5 * tensor.shape[1] ** 0.5 / noise.norm(dim=1, keepdim=True)
        elif "position_embeddings" in key:
            noise *= 0.8
        else:
            gains = {"query": 1.8, "key": 1.8, "crossattention": 1.0, "attention": 0.8, "": 1.2}
            noise *= next(gain for word, gain in gains.items() if word in key) * tensor.shape[1] ** -0.5
        tensor.data.copy_(noise)


def calibrate_eos(model, spec, rng):
    """Shifts the head's bias on the eos ids so that later about one step in eight chooses one of them.

    Returns whether the draw is a lively one: few rows end at once, and the rows say different things.
    """
    eos, steps, margins = listed(spec["ids"]["eos"]), 10, []
    source = torch.tensor([[rng.randrange(spec["enc"]["vocab_size"]) for _ in range(8)] for _ in range(12)])
    target = torch.full((12, 1), start_id(spec))
    for _ in range(steps):
        logits = model(input_ids=source, decoder_input_ids=target).logits[:, -1]
        rest = logits.index_fill(1, torch.tensor(eos), -torch.inf)
        margins.append(rest.max(1).values[:, None] - logits[:, eos])
        target = torch.cat([target, rest.argmax(1, keepdim=True)], 1)
    shift = (torch.quantile(torch.cat(margins[2:]), 0.13 / len(eos), dim=0) * 64).round() / 64
    model.decoder.get_output_embeddings().bias.data[eos] += shift
    at_once = (torch.cat(margins[:2]) < shift).float().mean()
    distinct = sum(len(set(row)) for row in target[:, 1:].tolist()) / len(target)
    return at_once < 0.12 and distinct > 0.5 * steps


def write_safetensors(path, tensors, metadata):
    """safetensors' save with a sorted header: the order of its metadata changes from run to run."""
    raw = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, metadata)
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.dumps(json.loads(raw[8:end]), sort_keys=True, separators=(",", ":"))
    path.write_bytes(raw[:8] + header.encode().ljust(end - 8) + raw[end:])


def make_half_config(sizes, **more):
    sizes = {**sizes, **more}
    return CONFIGS[sizes.pop("family", "bert-generation")](**sizes)


def make_config(spec):
    ids = spec["ids"]
    names = dict(pad_token_id=ids["pad"], bos_token_id=ids["bos"], eos_token_id=ids["eos"])
    encoder = make_half_config(spec["enc"], **names)
    decoder = make_half_config(spec["dec"], **names, is_decoder=True, add_cross_attention=True)
    return EncoderDecoderConfig(encoder=encoder.to_dict(), decoder=decoder.to_dict(),
                                decoder_start_token_id=ids["start"], **names)


def dress_config(folder, spec):
    """Rewrites config.json. v4-config: full sub-config dumps, torch_dtype; underscore: the old model_type;
    ids-below: no special ids at the top level; no-generation-config: that file is absent."""
    words, path = spec["files"], folder / "config.json"
    config = json.loads(path.read_text())
    if "v4-config" in words:
        config["torch_dtype"] = config.pop("dtype")
        config |= {key: {**V4_DUMP, **config[key]} for key in ("encoder", "decoder")}
    if "underscore" in words:
        config["model_type"] = "encoder_decoder"
    if "ids-below" in words:
        config = {key: value for key, value in config.items() if key[:3] not in ("pad", "bos", "eos")}
    path.write_text(json.dumps({**config, **spec["top"]}, indent=2, sort_keys=True) + "\n")
    if "no-generation-config" in words:
        (folder / "generation_config.json").unlink()


def dress_weights(path, spec):
    """Rewrites model.safetensors; returns the names a v5 loader will miss.

    v4-names: LayerNorm.gamma and .beta, position_ids buffers, the tied head stored beside the embedding;
    shared: the encoder's tensors dropped, as v4 did under tie_encoder_decoder; aliases: those names in the
    metadata.
    """
    words, state, metadata, dropped = spec["files"], load_file(path), {"format": "pt"}, set()
    if "v4-names" in words:
        state = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
                 for name, tensor in state.items()}
        base = "decoder.roberta." if spec["dec"].get("family") == "roberta" else "decoder.bert."
        head = "decoder.cls.predictions." if spec["dec"].get("family") == "bert" else "decoder.lm_head."
        state.setdefault(head + "decoder.weight", state[base + "embeddings.word_embeddings.weight"])
        state.setdefault(head + "decoder.bias", state[head + "bias"])
        for key, prefix in (("enc", "encoder."), ("dec", base)):
            positions = torch.arange(spec[key]["max_position_embeddings"])
            state[prefix + "embeddings.position_ids"] = positions[None]
    if "shared" in words:
        dropped = {name for name in state if name.startswith("encoder.") and "pooler" not in name}
        state = {name: tensor for name, tensor in state.items() if name not in dropped}
        if "aliases" in words:
            base = f"decoder.{'roberta' if spec['dec'].get('family') == 'roberta' else 'bert'}."
            metadata |= {name: base + name.removeprefix("encoder.") for name in dropped}
    write_safetensors(path, state, metadata)
    return dropped


def legacy_bytes(state):
    """torch's format before 1.6. It names storages by their addresses; here by their order."""
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    raw, keys = buffer.getvalue(), [str(tensor.untyped_storage()._cdata) for tensor in state.values()]
    for index, key in enumerate(keys):
        raw = raw.replace(key.encode(), str(index).zfill(len(key)).encode())
    return raw


def write_layouts(model, folder):
    """The same checkpoint in folders of its own, as other files: what transformers 4 and 5 have written."""
    state = load_file(folder / "model.safetensors")
    middle = len(state) // 2
    halves = [dict(list(state.items())[:middle]), dict(list(state.items())[middle:])]
    old = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
           for name, tensor in state.items()}
    both = {**state, **{name: tensor for name, tensor in model.state_dict().items()}}  # tied names too

    def layout(name, write):
        inner = folder / name
        inner.mkdir()
        for file in ("config.json", "generation_config.json"):
            shutil.copy(folder / file, inner)
        write(inner)

    def write_shards(inner, stem, suffix, write):
        names = [f"{stem}-{i + 1:05}-of-00002.{suffix}" for i in range(2)]
        for name, half in zip(names, halves):
            write(inner / name, half)
        index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in state.values())},
                 "weight_map": {key: name for name, half in zip(names, halves) for key in half}}
        (inner / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=2) + "\n")

    layout("f16", lambda inner: write_safetensors(
        inner / "model.safetensors", {name: tensor.half() for name, tensor in state.items()}, {"format": "pt"}))
    layout("gamma", lambda inner: write_safetensors(inner / "model.safetensors", old, {"format": "pt"}))
    layout("sharded", lambda inner: write_shards(
        inner, "model", "safetensors", lambda path, half: write_safetensors(path, half, {"format": "pt"})))
    layout("sharded-bin", lambda inner: write_shards(
        inner, "pytorch_model", "bin", lambda path, half: torch.save(half, path)))
    layout("zip-bin", lambda inner: torch.save(both, inner / "pytorch_model.bin"))
    layout("legacy-bin", lambda inner: (inner / "pytorch_model.bin").write_bytes(legacy_bytes(both)))


def make_checkpoint(name, spec, folder):
    """Writes the checkpoint and returns it as transformers loads it, in float32."""
    model = EncoderDecoderModel(config=make_config(spec)).eval()
    for seed in itertools.count():
        randomise(model, f"{name} {seed}")
        if {"shared", "tied"} & set(spec["files"]):
            half_state = {**model.encoder.state_dict(), **model.decoder.base_model.state_dict()}
            model.encoder.load_state_dict({key: half_state[key] for key in model.encoder.state_dict()})
        if calibrate_eos(model, spec, random.Random(name)):
            break
    if "layouts" in spec["files"]:  # so that a file of float16 holds the same numbers
        model.half().float()
    for key, value in spec["generation"].items():
        setattr(model.generation_config, key, value)
    model.to(getattr(torch, spec["dtype"])).save_pretrained(folder)
    dress_config(folder, spec)
    dropped = dress_weights(folder / "model.safetensors", spec)
    if "layouts" in spec["files"]:
        write_layouts(model, folder)
    loaded, info = EncoderDecoderModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert set(info["missing_keys"]) == dropped and not info["unexpected_keys"], info
    loaded.load_state_dict(model.state_dict())  # for `shared`: v5 does not fill in the encoder by itself
    return loaded.eval()


def make_batch(rng, vocab, pad, style, longest):
    """Random source rows: `style` names the mask and perhaps the number of rows. Row 0 is the longest."""
    kind, *rows = style.split()
    rows = int(rows[0]) if rows else rng.randint(2, 3)
    ids = [[rng.choice([i for i in range(vocab) if i != pad]) for _ in range(longest)] for _ in range(rows)]
    mask = [[1] * longest for _ in range(rows)]
    for row in range(1, rows) if kind in ("right", "left", "pads") else ():
        absent = rng.randint(1, longest - 2)
        for j in range(absent):
            j = j if kind == "left" else longest - 1 - j
            ids[row][j], mask[row][j] = pad or 0, 0
    for row in range(rows) if kind == "holes" else ():
        for j in rng.sample(range(longest), rng.randint(1, longest // 2)):
            mask[row][j] = 0
    mask = None if kind in ("plain", "pads") else mask
    return dict(input_ids=ids, attention_mask=mask, decoder_input_ids=None)


def make_prompt(rng, spec, rows, kind):
    """decoder_input_ids of length 2 to 4; transformers prepends the start id if no row begins with it."""
    start, width = start_id(spec), rng.randint(2, 4)
    free = [i for i in range(spec["dec"]["vocab_size"]) if i not in [start, *listed(spec["ids"]["eos"])]]
    prompt = [[rng.choice(free) for _ in range(width)] for _ in range(rows)]
    for row in range(rows):
        if kind == "started" or (kind == "mixed" and row % 2 == 0):
            prompt[row][0] = start
    return prompt


def forward(model, tensors):
    """The forward passes: on given decoder inputs, then on labels where there are any."""
    source = {name: tensors[name].long() for name in ("input_ids", "attention_mask", "token_type_ids")
              if name in tensors}
    plain = model(**source, decoder_input_ids=tensors["decoder_input_ids"])
    out = dict(encoder_last_hidden_state=plain.encoder_last_hidden_state, logits=plain.logits)
    if "labels" in tensors:
        labelled = model(**source, labels=tensors["labels"])
        out |= dict(loss=labelled.loss, label_logits=labelled.logits)
    return out


def largest_gap(exact, single):
    """The largest float32 error over all outputs; too large a one would make a useless fixture."""
    gap = max((exact[name] - single[name].double()).abs().max().item() for name in exact)
    assert gap < 5e-5 and all(tensor.isfinite().all() for tensor in exact.values()), gap
    return gap


def make_tensors(models, spec, rng):
    """expected.safetensors of an encoder-decoder case, and the largest float32 error in it."""
    ids, vocab, rows = spec["ids"], spec["dec"]["vocab_size"], rng.randint(2, 4)
    batch = make_batch(rng, spec["enc"]["vocab_size"], ids["pad"], f"{spec['mask']} {rows}", 24 // rows)
    width = 16 // rows
    target, labels = torch.tensor([rng.randrange(vocab) for _ in range(2 * rows * width)]).view(2, rows, -1)
    tensors = dict(input_ids=torch.tensor(batch["input_ids"]), decoder_input_ids=target,
                   attention_mask=torch.tensor(batch["attention_mask"], dtype=torch.uint8))
    types = spec["enc"].get("type_vocab_size", 0)
    if types:
        tensors["token_type_ids"] = torch.tensor([[rng.randrange(types) for _ in row]
                                                  for row in batch["input_ids"]])
    if None not in (ids["pad"], ids["start"]) and "ids-below" not in spec["files"]:  # else labels are refused
        for row in range(1, rows):
            labels[row, rng.randint(1, width - 1):] = -100
        labels[0, rng.randrange(1, width)] = -100
        tensors["labels"] = labels
    exact = forward(models["f64"], tensors)
    return {**tensors, **exact}, largest_gap(exact, forward(models["f32"], tensors))


Run = collections.namedtuple("Run", "sequences scores prompt config processors")


def generate(model, batch, options):
    """model.generate with rows cut after their end, and the lengths and processors it worked with."""
    seen, original = {}, model._get_logits_processor

    def spy(**kwargs):
        seen.update(kwargs, processors=original(**kwargs))
        return seen["processors"]

    model._get_logits_processor = spy
    tensors = {name: torch.tensor(rows) for name, rows in batch.items() if rows is not None}
    try:
        out = model.generate(**tensors, **options, return_dict_in_generate=True, output_scores=True)
    finally:
        del model._get_logits_processor
    config, prompt, rows = seen["generation_config"], seen["input_ids_seq_length"], out.sequences.tolist()
    ends = [] if config._eos_token_tensor is None else config._eos_token_tensor.tolist()
    cuts = [next((i + 1 for i in range(prompt, len(row)) if row[i] in ends), len(row)) for row in rows]
    rows = [row[:cut] for row, cut in zip(rows, cuts)]
    return Run(rows, getattr(out, "sequences_scores", None), prompt, config, seen["processors"])


def one_row(batch, row, keep_padding):
    """A batch of one: without its right padding, unless a processor reads the padding too."""
    alone = {name: rows and [rows[row]] for name, rows in batch.items()}
    if alone["attention_mask"] and not keep_padding:
        length = max(j for j, bit in enumerate(alone["attention_mask"][0]) if bit) + 1
        alone |= {name: [alone[name][0][:length]] for name in ("input_ids", "attention_mask")}
    return alone


def cached_logits(model, source, ids, prompt):
    """The logits of one row as generate computes them. Behind a padding id in the past RoBERTa's positions with
    a cache are others than without: the cache's length counts it, the cumulated mask does not."""
    pasts, found, begin = None, [], 0
    for end in range(prompt, ids.shape[1] + 1):
        out = model(**source, decoder_input_ids=ids[:, begin:end], past_key_values=pasts, use_cache=True)
        pasts, begin = out.past_key_values, end
        found.append(out.logits)
    return torch.cat(found, 1)


def exact_logprobs(model, batch, run, sequence):
    """Per generated token, the processed log-probability in float64.

    generate itself rounds logits to float32, whatever the model's type, hence this second way: one full pass
    over the finished sequence, through the processors that generate used.
    """
    source = {name: torch.tensor(batch[name]) for name in ("input_ids", "attention_mask") if batch[name]}
    ids, found = torch.tensor([sequence]), []
    logits = model(**source, decoder_input_ids=ids[:, :-1]).logits
    if model.config.decoder.model_type == "roberta":
        logits = cached_logits(model, source, ids[:, :-1], run.prompt)
    for step in range(run.prompt, len(sequence)):
        scores = logits[:, step - 1]
        if run.config.num_beams > 1:
            scores = run.processors(ids[:, :step], scores.log_softmax(-1))
        else:
            scores = run.processors(ids[:, :step], scores).log_softmax(-1)
        found.append(scores[0, sequence[step]].item())
    return found


def attempt(models, batch, options, mixed):
    """One generate entry, or the reason why it would not be a stable one."""
    exact, rows = models["f64"], len(batch["input_ids"])
    run, padded = generate(exact, batch, options), any(name.startswith("encoder_") for name in options)
    if any(generate(models[name], batch, options).sequences != run.sequences for name in ("f32", "noisy")):
        return "changes under float32 or under noise of 1e-5 on the weights"
    alone = [run] * rows  # with a mixed prompt, a row alone could get the start id prepended
    if not mixed:
        alone = [generate(exact, one_row(batch, i, padded), options) for i in range(rows)]
        if [row for other in alone for row in other.sequences] != run.sequences:
            return "a row alone answers differently"
    each, beams = len(run.sequences) // rows, run.config.num_beams > 1
    probs = [exact_logprobs(exact, one_row(batch, i // each, True), alone[i // each], sequence)
             for i, sequence in enumerate(run.sequences)]
    scores = [sum(p) / len(p) ** run.config.length_penalty if beams else sum(p) for p in probs]
    if beams and (run.scores - torch.tensor(scores)).abs().max() > 1e-4:
        return "sequences_scores are not those of the returned tokens"
    return dict(sequences=run.sequences, scores=scores, **({} if beams else {"token_logprobs": probs}))


def named_ids(model, spec, batch, rng):
    """Ids that matter to this batch: what row 0 says first when nothing ends it, the first eos, one apart."""
    eos = listed(spec["ids"]["eos"])
    free = [i for i in range(3, spec["dec"]["vocab_size"]) if i not in eos]
    run = generate(model, batch, dict(num_beams=1, eos_token_id=None, max_new_tokens=5))
    said = [i for i in dict.fromkeys(run.sequences[0][run.prompt:]) if i in free]
    said += [i for i in rng.sample(free, 9) if i not in said]
    return {**{f"said{i}": said[i] for i in range(3)}, "other": said[-1], "eos0": eos[0]}


def resolve(value, ids):
    if isinstance(value, dict):
        return {key: resolve(item, ids) for key, item in value.items()}
    return [resolve(item, ids) for item in value] if isinstance(value, list) else ids.get(value, value)


def make_entry(models, case_name, spec, order, tally):
    """Tries seeds until one gives a stable entry and, for a processor, one that it changes."""
    name, fallback = order["name"], None
    processor, vocabs = name.startswith("processor/"), (spec["enc"]["vocab_size"], spec["dec"]["vocab_size"])
    plain = {key: value for key, value in order["options"].items() if key.startswith(("num_", "max_"))}
    for seed in range(8):
        rng = random.Random(f"{case_name}/{name}/{seed}")
        batch = make_batch(rng, min(vocabs) if processor else vocabs[0], spec["ids"]["pad"], order["style"],
                           rng.randint(4, 10))
        if order["style"] == "echo":  # a source that says what the answer would, or no n-gram were ever met
            said = generate(models["f64"], batch, plain | dict(eos_token_id=None)).sequences
            each = len(said) // len(batch["input_ids"])
            batch["input_ids"] = [[i % min(vocabs) for i in row[-6:]] for row in said[::each]]
            batch["attention_mask"] = [[1] * len(row) for row in batch["input_ids"]]
        if order["prompt"]:
            batch["decoder_input_ids"] = make_prompt(rng, spec, len(batch["input_ids"]), order["prompt"])
        options = resolve(order["options"], named_ids(models["f64"], spec, batch, rng))
        entry = attempt(models, batch, options, order["prompt"] == "mixed")
        if isinstance(entry, str):
            tally["dropped"].append(f"{case_name}: {name}, seed {seed}: {entry}")
            continue
        fallback = dict(name=name, **batch, generation=options, **entry)
        if not processor or generate(models["f64"], batch, plain).sequences != entry["sequences"]:
            return fallback
    tally["without effect" if fallback else "lost"].append(f"{case_name}: {name}")
    return fallback


def make_errors(model, batch):
    """What transformers refuses, in its words."""
    found = []
    for name, options in ERRORS.items():
        try:
            generate(model, batch, options)
        except ValueError as error:
            found.append(dict(name=name, generation=options, error=str(error).splitlines()[0]))
    assert len(found) >= len(ERRORS) - 1, found  # where the config sets max_new_tokens, max_length=1 is legal
    return found


def write_expected(folder, tensors, gap, entries=(), errors=()):
    """expected.safetensors, and expected.json with one entry to a line."""
    write_safetensors(folder / "expected.safetensors", tensors, {})
    meta = dict(transformers=transformers.__version__, torch=torch.__version__, seed=SEED, max_f32_error=gap)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in meta.items()]
    for key, values in (("generate", entries), ("errors", errors)):
        lines.append(f'"{key}": [' + ",".join("\n" + json.dumps(value) for value in values) + "]")
    (folder / "expected.json").write_text("{" + ",\n".join(lines) + "}\n")


def make_case(index, name, spec, folder, tally):
    """Everything of one encoder-decoder directory; returns its entries."""
    model = make_checkpoint(name, spec, folder)
    models = dict(f32=model, f64=copy.deepcopy(model).double(), noisy=copy.deepcopy(model).double())
    generator = torch.Generator().manual_seed(SEED)
    for tensor in models["noisy"].parameters():
        tensor.data *= 1 + 1e-5 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    tensors, gap = make_tensors(models, spec, random.Random(f"{name}/forward"))
    dealt = [ROTATING[(index * PER_CASE + i) % len(ROTATING)] for i in range(PER_CASE)]
    entries = [make_entry(models, name, spec, order, tally) for order in EVERY + dealt]
    entries = [entry for entry in entries if entry]
    batch = make_batch(random.Random(0), spec["enc"]["vocab_size"], spec["ids"]["pad"], "right 2", 6)
    write_expected(folder, tensors, gap, entries, make_errors(model, batch))
    return entries


def make_standalone(folder, name, kind, sizes, style, dtype):
    """A half by itself: every layer's hidden states, and an encoder's output or a decoder's logits."""
    model = kind(make_half_config(sizes)).eval()
    randomise(model, name)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    single, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    pad = single.config.pad_token_id
    batch = make_batch(random.Random(name), sizes["vocab_size"], pad, f"{style} 3", 8)
    ids, mask = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])
    found = []
    for model in (copy.deepcopy(single).double(), single):
        out = model.eval()(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        main = "logits" if "logits" in out else "last_hidden_state"
        found.append({"hidden_states": torch.stack(out.hidden_states), main: out[main]})
    tensors = dict(found[0], input_ids=ids, attention_mask=mask.to(torch.uint8))
    write_expected(folder, tensors, largest_gap(*found))


def make_warm_start(folder):
    """A BERT with its head for masked words, and what BertGeneration's classes make of it."""
    model = BertForMaskedLM(make_half_config(WARM)).eval()
    randomise(model, "warm-start")
    model.save_pretrained(folder)
    batch = make_batch(random.Random("warm-start"), WARM["vocab_size"], 0, "right 3", 8)
    ids, mask = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])
    tensors = dict(input_ids=ids, attention_mask=mask.to(torch.uint8))
    for kind, options in ((BertGenerationEncoder, {}), (BertGenerationDecoder, dict(is_decoder=True))):
        half = kind.from_pretrained(folder, dtype=torch.float64, **options).eval()
        out = half(input_ids=ids, attention_mask=mask)
        tensors |= {name: out[name] for name in ("last_hidden_state", "logits") if name in out}
    write_expected(folder, tensors, 0.0)


def summarise(output, names, entries, tally):
    """Prints sizes and, per option, how many entries use it."""
    sizes = {name: sum(path.stat().st_size for path in (output / name).rglob("*")) / 1024 for name in names}
    for name, size in sizes.items():
        print(f"{name:22}{size:7.1f} KB {len(entries.get(name, ())):4} entries")
    print(f"{len(sizes)} directories, {sum(sizes.values()):.0f} KB")
    every = [entry for group in entries.values() for entry in group]
    counts = collections.Counter(key for entry in every for key in entry["generation"])
    counts += collections.Counter(entry["name"].split("/")[0] + "/" for entry in every)
    print(f"{len(every)} generate entries, of these with")
    print(*(f"{count:5} {key}" for key, count in sorted(counts.items())), sep="\n")
    for kind, lines in tally.items():
        print(f"{len(lines)} {kind}", *lines, sep="\n  ")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("tests/data/models"))
    parser.add_argument("--only", nargs="*", help="names of cases; default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    wanted, entries, tally = args.only or [*CASES, *STANDALONE, "warm-start"], {}, collections.defaultdict(list)
    for name in wanted:
        folder = args.output / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if name in CASES:
            entries[name] = make_case(list(CASES).index(name), name, CASES[name], folder, tally)
        elif name == "warm-start":
            make_warm_start(folder)
        else:
            make_standalone(folder, name, *STANDALONE[name])
        (folder / "model.safetensors").chmod(0o644)
    summarise(args.output, wanted, entries, tally)


if __name__ == "__main__":
    main()
