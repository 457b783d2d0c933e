"""The model fixtures: which checkpoints there are, and what transformers is asked to generate with them."""
import random

from transformers import (BertGenerationDecoder, BertGenerationEncoder, BertLMHeadModel, BertModel,
                          RobertaForCausalLM, RobertaModel)

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
