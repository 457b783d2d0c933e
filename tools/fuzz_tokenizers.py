#!/usr/bin/env python3
"""Compares the program's tokenizers with transformers' on many texts: ids, offsets, and the text decoded from the ids.

    tools/fuzz_tokenizers.py --program build/bertgen --data DIR [--count 100000] [--seed 1]
    tools/fuzz_tokenizers.py --program build/bertgen --data DIR --lines

DIR holds real vocabularies and texts, in the folders that TOKENIZERS and corpus() name. A quarter of the texts are lines
of them, the rest are random Unicode, spliced from code points of all kinds, pieces of vocabularies, special tokens and
those lines. Every tokenizer gets `count` / number of tokenizers of them, most with random options. With --lines every
tokenizer gets every line once, without options.
Needs transformers 5. Prints the figures and the first differences; exits with 1 if there are any.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import transformers
from transformers import AutoTokenizer

transformers.logging.set_verbosity_error()
warnings.simplefilter("ignore")

ADDED = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": False}
EXTRA = {str(60000 + i): {**ADDED, "content": content, **flags} for i, (content, flags) in enumerate([
    ("<left>", {"lstrip": True}), ("<right>", {"rstrip": True}), ("word", {"single_word": True}),
    ("Norm", {"normalized": True}), ("\u00c9t\u00e9", {"normalized": True, "single_word": True}),
    ("<sp>", {"special": True, "lstrip": True, "rstrip": True})])}


def with_class(name, files, **settings):
    return {**files, "tokenizer_config.json": {"tokenizer_class": name, **settings}}


def sentencepiece(file, **settings):
    return with_class("BertGenerationTokenizer", {"spiece.model": file}, **settings)


BERT, ROBERTA = "BertTokenizer", "RobertaTokenizer"
UNCASED, CASED = {"vocab.txt": "bert-uncased-vocab/vocab.txt"}, {"vocab.txt": "bert-cased-vocab/vocab.txt"}
PAIRS = {name: f"roberta-base-tokenizer/{name}" for name in ("vocab.json", "merges.txt")}
SERIALIZED = {"tokenizer.json": "roberta-base-tokenizer/tokenizer.json"}
PIECES, PEGASUS = "bbc-encoder-spm/gpt2.model", "bbc-encoder-spm/pegasus.model"
FIXTURES = "hf-transformers-fixtures/"
# What transformers 4 wrote beside a vocabulary.
BERT_SPECIAL = {f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "SEP", "PAD", "CLS", "MASK")}
ROBERTA_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "cls_token": "<s>",
                   "pad_token": "<pad>", "mask_token": {**ADDED, "content": "<mask>", "lstrip": True}}
V4 = {"model_max_length": 512, "name_or_path": "org/model", "special_tokens_map_file": None}

# Name: the files of the directory, each a file of DIR or the object in it.
TOKENIZERS = {
    "bert uncased": with_class(BERT, UNCASED),
    "bert cased": with_class(BERT, CASED, do_lower_case=False),
    "bert, lower case with accents": with_class(BERT, UNCASED, strip_accents=False),
    "bert, cased without accents": with_class(BERT, CASED, do_lower_case=False, strip_accents=True,
                                              tokenize_chinese_chars=False),
    "bert with added tokens": with_class(BERT, UNCASED, added_tokens_decoder=EXTRA, truncation_side="left",
                                         padding_side="left"),
    "bert of transformers 4, added tokens": {
        **with_class(BERT, UNCASED, **V4, **BERT_SPECIAL, do_lower_case=True, strip_accents=None,
                     tokenize_chinese_chars=True, clean_up_tokenization_spaces=True),
        "special_tokens_map.json": {**BERT_SPECIAL, "additional_special_tokens": ["<left>", "<sp>"]},
        "added_tokens.json": {"<left>": 30522, "<sp>": 30523, "word": 30524, "\u00c9t\u00e9": 30525}},
    "bert with bos and eos": with_class(BERT, UNCASED, pad_token="<pad>", eos_token="</s>", bos_token="<s>",
                                        clean_up_tokenization_spaces=False),
    "bert's vocab.txt alone": {**UNCASED, "config.json": {"model_type": "bert"}},
    "roberta": with_class(ROBERTA, PAIRS),
    "roberta, tokenizer.json": with_class(ROBERTA, SERIALIZED),
    "roberta with prefix space": with_class(ROBERTA, PAIRS, add_prefix_space=True),
    "roberta with added tokens": with_class(ROBERTA, PAIRS, trim_offsets=False, added_tokens_decoder=EXTRA),
    "roberta of transformers 4": {
        **with_class(ROBERTA, PAIRS, **V4, **ROBERTA_SPECIAL, add_prefix_space=False, errors="replace",
                     trim_offsets=True),
        "special_tokens_map.json": ROBERTA_SPECIAL, "added_tokens.json": {"<left>": 50265, "word": 50266}},
    "tokenizer.json as it is": with_class("TokenizersBackend", SERIALIZED),
    "generation": sentencepiece(PIECES),
    "generation, pegasus": sentencepiece(PEGASUS),
    "generation, small": sentencepiece(FIXTURES + "test_sentencepiece.model"),
    "generation, albert": sentencepiece(FIXTURES + "spiece.model", clean_up_tokenization_spaces=True),
    "generation with added tokens": sentencepiece(PIECES, added_tokens_decoder=EXTRA, truncation_side="left",
                                                  padding_side="left"),
    "generation of transformers 4": {
        **sentencepiece(PIECES, **V4, bos_token="<s>", eos_token="</s>", unk_token="<unk>", sep_token="<::::>",
                        pad_token="<pad>", sp_model_kwargs={}),
        "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                                    "sep_token": "<::::>", "pad_token": "<pad>"},
        "added_tokens.json": {"<left>": 50358, "word": 50359}},
}


def corpus(data):
    """Lines of real text, hostile and not."""
    lines = json.loads((data / "blns/blns.json").read_text())
    lines += [json.loads(line)["text"] for line in (data / "conformance/cases.jsonl").read_text().splitlines()]
    for pattern in ("unicode-lipsum/*.txt", "wikisplit/*.tsv", "discofuse-samples/*.tsv", f"{FIXTURES}sample_text*.txt"):
        for path in sorted(data.glob(pattern)):
            lines += path.read_text().splitlines()
    lines += (data / "utf8-tests/utf8tests.txt").read_bytes().decode(errors="replace").splitlines()
    return [line for line in lines if line]


BLOCKS = [(0x20, 0x7E), (0x20, 0x7E), (0x00, 0x2FF), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0xDFF), (0xE00, 0x1FFF),
          (0x2000, 0x2BFF), (0x2E80, 0x33FF), (0x3400, 0x9FFF), (0xA000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x1FFFF),
          (0x20000, 0x323AF), (0xE0000, 0x10FFFF), (0x0, 0x10FFFF)]
SPECIAL = ["[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "<s>", "</s>", "<mask>", "<pad>", "<unk>", "<left>", "<right>",
           "word", "Norm", "norm", "NORM", "\u00c9t\u00e9", "ete", "\u00e9te\u0301", "<sp>", "##", "##ing", "[mask]"]
SPACES = [" ", " ", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u0085", "\u200b", "\u1680"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "don't", "it's", "\u2019s", "n't", " do not "]


def random_text(rng, lines):
    parts = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 21, 34])):
        kind = rng.random()
        if kind < 0.35:
            first, last = rng.choice(BLOCKS)
            points = [rng.randint(first, last) for _ in range(rng.choice([1, 1, 2, 3, 6]))]
            parts.append("".join(chr(c) for c in points if not 0xD800 <= c < 0xE000))
        elif kind < 0.5:
            parts.append(rng.choice(SPACES))
        elif kind < 0.6:
            parts.append(rng.choice(SPECIAL))
        elif kind < 0.67:
            parts.append(rng.choice(CONTRACTIONS))
        elif kind < 0.72:
            parts.append(rng.choice("a#.'-_ \u0301\u4e00\u1112 <1") * rng.choice([2, 3, 5, 99, 101, 130]))
        else:
            line = rng.choice(lines)
            begin = rng.randrange(len(line))
            parts.append(line[begin:begin + rng.choice([1, 2, 5, 10, 20])])
    return "".join(parts)


def random_request(rng, lines):
    text = rng.choice(lines) if rng.random() < 0.25 else random_text(rng, lines)
    request = {"text": text}
    if rng.random() < 0.2:
        request["text_pair"] = rng.choice(["", random_text(rng, lines)])
    if rng.random() < 0.3:
        request["add_special_tokens"] = rng.random() < 0.5
    if rng.random() < 0.2:
        request["max_length"] = rng.choice([1, 2, 3, 4, 5, 8, 16])
        request["truncation"] = rng.choice(["longest_first", "only_first", "only_second", False, True])
    if rng.random() < 0.1:
        request["padding"] = rng.choice([True, "max_length", False])
    return request


def byte_offsets(text):
    """Byte positions of a text's characters."""
    positions = [0]
    for character in text:
        positions.append(positions[-1] + len(character.encode()))
    return positions


def expected_answer(tokenizer, request):
    options = {key: value for key, value in request.items() if key not in ("text", "text_pair")}
    try:
        result = tokenizer(request["text"], request.get("text_pair"), return_offsets_mapping=tokenizer.is_fast,
                           **options)
    except Exception as error:  # the binding raises Exception itself
        return {"error": str(error)}
    answer = {"ids": result["input_ids"], "attention_mask": result["attention_mask"]}
    if not tokenizer.is_fast:
        return answer
    texts = [byte_offsets(request["text"]), byte_offsets(request.get("text_pair") or "")]
    offsets = [(texts[sequence][begin], texts[sequence][end]) if sequence is not None else (0, 0)
               for sequence, (begin, end) in zip(result.sequence_ids(0), result["offset_mapping"])]
    return {**answer, "offsets": offsets}


def run(program, command, model, requests):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    result = subprocess.run([program, command, "--model", model, "--jsonl"], input=lines, capture_output=True, text=True)
    answers = [json.loads(line) for line in result.stdout.split("\n") if line]
    if len(answers) != len(requests):
        sys.exit(f"{program} {command}: {len(answers)} answers to {len(requests)} requests: {result.stderr}")
    return answers


def ends_of_characters(text):
    """Byte positions in a text where a range may begin or end. transformers gives a mark that normalisation moves the place
    of the mark that stood where it goes, the program its own: in texts with such marks none of them count."""
    positions = byte_offsets(text)
    parts = (unicodedata.normalize("NFD", character) for character in text)
    if unicodedata.normalize("NFD", text) == "".join(parts):
        return positions
    return [0] + [at for at, character in zip(positions, text + " ") if not unicodedata.combining(character)]


def comparable(offsets, positions):
    """Byte ranges made as wide as the characters that they touch, as transformers knows only whole characters; then a
    character that several tokens share is the last one's, as the program has it where it can not do better."""
    starts = set(positions)
    result = []
    for begin, end in offsets:
        while begin not in starts:
            begin -= 1
        while end not in starts:
            end += 1
        result.append((begin, end))
    for i, (following, _) in enumerate(result[1:]):
        begin, end = result[i]
        if begin <= following < end:
            result[i] = (begin, following)
    return result


class Report:
    def __init__(self):
        self.checked = collections.Counter()
        self.different = collections.Counter()
        self.shown = collections.Counter()

    def check(self, name, what, request, got, expected):
        self.checked[name, what] += 1
        if got == expected:
            return
        self.different[name, what] += 1
        self.shown[what] += 1
        if self.shown[what] <= 8:
            print(f"{name}: {what}: {json.dumps(request)}\n  got      {str(got)[:500]}\n  expected {str(expected)[:500]}", file=sys.stderr)

    def summary(self):
        for (name, what), count in self.checked.items():
            print(f"{name:32} {what:12} {count:8} compared, {self.different[name, what]} different")
        return sum(self.different.values())


def compare_texts(report, name, tokenizer, program, model, requests):
    answers = run(program, "tokenize", model, requests)
    decodings, expected_texts = [], []
    for request, answer in zip(requests, answers):
        expected = expected_answer(tokenizer, request)
        if "error" in expected or "error" in answer:
            report.check(name, "error", request, "error" in answer, "error" in expected)
            continue
        report.check(name, "ids", request, answer["ids"], expected["ids"])
        report.check(name, "mask", request, answer["attention_mask"], expected["attention_mask"])
        # A character that truncation cuts has no bytes in the program's offsets.
        plain = not request.keys() & {"text_pair", "max_length"} and "added" not in name and "prefix" not in name
        if plain and "offsets" in expected:
            positions = ends_of_characters(request["text"])
            report.check(name, "offsets", request, comparable(answer["offsets"], positions),
                         comparable(expected["offsets"], positions))
        for skip in (False, True):
            clean = random.Random(len(decodings)).choice([None, False, True])
            decodings.append({"ids": expected["ids"], "skip_special_tokens": skip,
                              "clean_up_tokenization_spaces": clean})
            expected_texts.append(tokenizer.decode(expected["ids"], skip_special_tokens=skip,
                                                   clean_up_tokenization_spaces=clean))
    for request, answer, text in zip(decodings, run(program, "detokenize", model, decodings), expected_texts):
        report.check(name, "decoded text", request, answer.get("text"), text)


def write_directory(directory, files, data):
    directory.mkdir()
    for name, content in files.items():
        if isinstance(content, str):
            shutil.copyfile(data / content, directory / name)
        else:
            (directory / name).write_text(json.dumps(content))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", required=True)
    arguments.add_argument("--data", type=pathlib.Path, required=True)
    arguments.add_argument("--count", type=int, default=100000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--lines", action="store_true", help="every line once instead of random texts")
    arguments.add_argument("--only", help="part of the names of the tokenizers to try")
    options = arguments.parse_args()
    lines = corpus(options.data)
    names = [name for name in TOKENIZERS if not options.only or options.only in name]
    report, texts = Report(), 0
    with tempfile.TemporaryDirectory() as scratch:
        for index, name in enumerate(names):
            model = pathlib.Path(scratch, str(index))
            write_directory(model, TOKENIZERS[name], options.data)
            rng = random.Random(f"{options.seed} {name}")
            requests = [random_request(rng, lines) for _ in range(options.count // len(names))]
            if options.lines:
                requests = [{"text": line} for line in lines]
            texts += len(requests)
            compare_texts(report, name, AutoTokenizer.from_pretrained(model), options.program, model, requests)
    differences = report.summary()
    print(f"{texts} texts, {'every line' if options.lines else f'seed {options.seed}'}: {differences} differences")
    sys.exit(differences > 0)


if __name__ == "__main__":
    main()
