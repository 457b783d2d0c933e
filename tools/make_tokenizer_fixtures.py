#!/usr/bin/env python3
"""Writes tests/data/tokenizers/bert_generation: tiny SentencePiece models, and what transformers makes of texts.

Needs transformers 5 and sentencepiece. Run from the root of the repository:

    python3 tools/make_tokenizer_fixtures.py

The models are trained on the sentences below, so they are this project's own; a second run writes the same bytes.
"""

import io
import json
import os
import pathlib
import random
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import sentencepiece
import transformers
from transformers import BertGenerationTokenizer

transformers.logging.set_verbosity_error()

OUT = pathlib.Path("tests/data/tokenizers/bert_generation").resolve()

SUBJECTS = ["The river", "A small boat", "Our neighbour", "The old clock", "A quick fox", "The teacher", "Her garden",
            "The last train", "A young painter", "The town"]
VERBS = ["crosses", "follows", "remembers", "does not see", "waits for", "is near", "likes", "will reach", "has left"]
OBJECTS = ["the bridge", "a green field", "the market in 1984", "the quiet harbour", "an open window", "the mountain",
           "its own shadow", "the winter light", "a long letter", "the café"]
TAILS = [".", "!", "?", ", because it rains.", ", and nobody knows why.", " at 10:30.", ": it's late.",
         "; we're ready."]

# Code points to normalise, as in a *.tsv file of SentencePiece: a small share of NFKC.
RULES = [("FF21", "41"), ("FF22", "42"), ("FF41", "61"), ("FB01", "66 69"), ("2460", "31"), ("65 301", "E9"),
         ("9", "20"), ("A", "20"), ("D", "20"), ("A0", "20"), ("3000", "20"), ("2026", "2E 2E 2E"), ("AD", ""),
         ("FDFA", "61 20 62 20 63")]


def corpus():
    rng = random.Random(0)
    return [f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}{rng.choice(TAILS)}" for _ in range(600)]


def train(name, **options):
    model = io.BytesIO()
    pathlib.Path("rules.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in RULES))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=model, normalization_rule_tsv="rules.tsv", num_threads=1,
        shuffle_input_sentence=False, minloglevel=2, **options)
    (OUT / name).write_bytes(model.getvalue())


def train_all():
    train("spiece.model", model_type="unigram", vocab_size=110, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
          user_defined_symbols=["[SEP]", "ab", "abab", "\uff21\uff22"], control_symbols=["<hidden>"])
    train("bpe.model", model_type="bpe", vocab_size=420, byte_fallback=True)
    train("char.model", model_type="char", vocab_size=70, remove_extra_whitespaces=False, character_coverage=0.999)
    train("word.model", model_type="word", vocab_size=50)
    train("suffix.model", model_type="unigram", vocab_size=90, treat_whitespace_as_suffix=True)


ADDED = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}

# Directories: the model each takes as spiece.model, and its other files.
DIRECTORIES = {
    "unigram": ("spiece.model", {}),
    "bpe": ("bpe.model", {}),
    "char": ("char.model", {}),
    "word": ("word.model", {}),
    "suffix": ("suffix.model", {}),
    "options": ("spiece.model", {"tokenizer_config.json": {
        "tokenizer_class": "BertGenerationTokenizer", "model_max_length": 12, "padding_side": "left",
        "truncation_side": "left", "clean_up_tokenization_spaces": True, "sp_model_kwargs": {},
        "bos_token": {"__type": "AddedToken", "content": "<start>", "lstrip": False, "normalized": False,
                      "rstrip": False, "single_word": False},
        "cls_token": "[CLS]", "mask_token": "the", "unk_token": None, "image_token": "<image>",
        "extra_special_tokens": ["<e1>", "<e2>"]}}),
    "added": ("spiece.model", {"tokenizer_config.json": {
        "model_max_length": 1e30,
        "added_tokens_decoder": {
            "3": {**ADDED, "content": "<unk>"},
            "110": {**ADDED, "content": "<left>", "lstrip": True},
            "111": {**ADDED, "content": "<right>", "rstrip": True},
            "112": {**ADDED, "content": "<word>", "single_word": True, "special": False},
            "113": {**ADDED, "content": "<x>"},
            "114": {**ADDED, "content": "<xy>"}}}}),
    "version 4": ("bpe.model", {
        "tokenizer_config.json": {"tokenizer_class": "BertGenerationTokenizer", "model_max_length": 512,
                                  "additional_special_tokens": ["<old>"], "padding_side": "right"},
        "special_tokens_map.json": {"sep_token": "[END]", "additional_special_tokens": ["<ignored>"],
                                    "pad_token": {"content": "[PAD]", "lstrip": False, "normalized": True,
                                                  "rstrip": False, "single_word": False}},
        "added_tokens.json": {"[PAD]": 421, "[END]": 420, "<old>": 422}}),
    "split specials": ("spiece.model", {"tokenizer_config.json": {"split_special_tokens": True}}),
    "no pad": ("spiece.model", {"tokenizer_config.json": {"pad_token": None}}),
}

TEXTS = [
    "", " ", "   ", "\t\n\r", "\u3000\u00a0", "a", "The river crosses the bridge.", "the  river   crosses",
    "  The river", "The river  ", "\nThe\triver\r\nis near\u00a0the\u3000bridge", "THE RIVER", "caf\u00e9",
    "cafe\u0301",
    "\uff21\uff22\uff41", "\ufb01eld", "\u2460\u2460\u2460", "wait\u2026", "so\u00adft", "\u00ad", " \u00ad ", "\ufdfa",
    "x\ufdfa\ufdfa y", "1984", "10:30", "it's, we're. isn't!", "\u2581", "\u2581\u2581", "a\u2581b", " \u2581 a",
    "<s>", "</s>", "<pad>", "<unk>", "<::::>", "<hidden>", "[SEP]", "the[SEP]river", "ab", "abab", "ababab", "aabbabab",
    "<s>the river</s>", "<s> the river </s>", "the<::::>river", "the <::::> river", "a<pad>b<unk>c", "<<s>>", "< s>",
    "</s></s></s>", "<s", "s>", "<:::>", "<:::::>", "<pad><pad> <pad>", "\uff1cs\uff1e", "<s\u00ad>", "the</s>\u00e9",
    "\u00e9", "\u00e9\u00e9", "x\u00e9\u00e9y", "\u6f22\u5b57", "the\u6f22\u5b57river", "\u05e9\u05dc\u05d5\u05dd",
    "\U0001f642",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\ud55c\uad6d", "\u1112\u1161\u11ab", "e\u0301\u0301\u0301", "\u0301",
    "\ufffd", "\ufeffthe", "\u200b", "a\u200bb", "\u202ethe", "\x00", "a\x00b", "\x01\x02\x7f", "\x1c\x1d\x1e\x1f",
    "\x85", "a\x85b", "\u2028\u2029", "\U0010ffff", "\ue000", "\ufdd0", "<0x41>", "<0xC3><0xA9>", "<start>the<image>",
    "<e1><e2>", "<e1> <e3>", "the theatre", "the [CLS] the", "a <left> b <right> c", "a\t<left>\u3000<right>\n",
    "<left><right>",
    "a <word> b", "a<word>b", "a <word>b", "<word>", "<word><word>", "<x><xy><x", "<xyz>", "[PAD][END]<old><ignored>",
    "a " * 20, "the river " * 4, "\u00e9" * 9, "." * 12, " ." * 6, "a\u0301" * 9, "<s>" * 10,
]


def texts():
    rng = random.Random(1)
    parts = [text for text in TEXTS if len(text) < 12] + [" ", " ", "the", "river", "bridge", ".", ","]
    return TEXTS + corpus()[:30] + ["".join(rng.choice(parts) for _ in range(rng.randrange(2, 7))) for _ in range(80)]


def joined(numbers, separator=""):
    return separator.join(map(str, numbers))


def encoded(encoding):
    ids = encoding["input_ids"]
    return {"input_ids": joined(ids, " "), "attention_mask": joined(encoding.get("attention_mask", [1] * len(ids))),
            "special_tokens_mask": joined(encoding["special_tokens_mask"])}


def random_options(rng):
    options = {}
    if rng.random() < 0.7:
        options["max_length"] = rng.choice([1, 2, 4, 7, 12, 16])
    if rng.random() < 0.6:
        options["truncation"] = rng.choice(["longest_first", "only_first", "only_second", "do_not_truncate"])
    if rng.random() < 0.5:
        options["padding"] = rng.choice(["longest", "max_length", "do_not_pad"])
    if rng.random() < 0.2:
        options["pad_to_multiple_of"] = rng.choice([1, 4, 8])
    if rng.random() < 0.3:
        options["padding_side"] = rng.choice(["left", "right"])
    return options


def with_options(tokenizer, rng, pool):
    """One call with random options: a text, a pair, or a batch of either."""
    case = {"options": random_options(rng)}
    count = rng.choice([0, 0, 0, 2, 3])
    pick = lambda: rng.choice(pool) if count == 0 else [rng.choice(pool) for _ in range(count)]
    case["text"] = pick()
    case["text_pair"] = pick() if rng.random() < 0.5 else None
    default_side = tokenizer.truncation_side
    if rng.random() < 0.3:
        case["options"]["truncation_side"] = tokenizer.truncation_side = rng.choice(["left", "right"])
    options = {key: value for key, value in case["options"].items() if key != "truncation_side"}
    try:
        result = tokenizer(case["text"], case["text_pair"], return_special_tokens_mask=True, **options)
    except ValueError:
        case["error"] = True
    else:
        rows = [result] if count == 0 else [{key: result[key][i] for key in result} for i in range(count)]
        case["expected"] = [encoded(row) for row in rows]
    tokenizer.truncation_side = default_side
    return case


def decode_cases(tokenizer, rng, pool):
    sequences = [tokenizer(text)["input_ids"] for text in rng.sample(pool, 9)]
    sequences += [[rng.randrange(len(tokenizer)) for _ in range(rng.randrange(12))] for _ in range(6)]
    sequences += [ids + rng.sample(tokenizer.all_special_ids, 2) for ids in sequences[:4]] + [[-1], [len(tokenizer)]]
    for ids in sequences:
        case = {"ids": ids}
        try:
            # First with special tokens, then without; in each, clean-up unset, off and on.
            case["texts"] = [tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean)
                             for skip in (False, True) for clean in (None, False, True)]
        except IndexError:
            case["error"] = True
        yield case


def cases_of(name, directory):
    rng = random.Random(name)
    tokenizer = BertGenerationTokenizer.from_pretrained(directory)
    pool = texts()
    named = {key: tokenizer.convert_tokens_to_ids(value) for key, value in tokenizer.special_tokens_map.items()}
    limit = tokenizer.model_max_length
    return {
        "size": len(tokenizer), "vocab_size": tokenizer.vocab_size, "special_ids": tokenizer.all_special_ids,
        "named_ids": {key: id for key, id in named.items() if key in tokenizer.__class__.SPECIAL_TOKENS_ATTRIBUTES},
        "added": {str(id): token.content for id, token in tokenizer.added_tokens_decoder.items()},
        "model_max_length": limit if limit < 1e20 else None,
        "input_ids": [joined(tokenizer(text)["input_ids"], " ") for text in pool],
        "calls": [with_options(tokenizer, rng, pool) for _ in range(30)],
        "decodes": list(decode_cases(tokenizer, rng, pool)),
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # the trainer records the names of its input files
        train_all()
        result = {"versions": {"transformers": transformers.__version__, "sentencepiece": sentencepiece.__version__},
                  "texts": texts(), "directories": {}}
        for name, (model, files) in DIRECTORIES.items():
            directory = pathlib.Path(scratch, name)
            directory.mkdir()
            shutil.copy(OUT / model, directory / "spiece.model")
            for file, content in files.items():
                (directory / file).write_text(json.dumps(content))
            result["directories"][name] = {"model": model, "files": files, **cases_of(name, directory)}
        os.chdir(home)
    lines = json.dumps(result, ensure_ascii=True, separators=(",", ":")).replace('},{', '},\n{')
    (OUT / "cases.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
