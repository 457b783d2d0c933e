#!/usr/bin/env python3
"""Writes the seeds in tests/fuzz/seeds that no test file holds by itself: those of the tokenizers' text files and of
pickles, from tests/data, and JSON lines. Needs nothing but Python."""
import json
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "tests"
LINES = [
    {"id": 1, "text": "A. B.", "generation": {"num_beams": 4, "max_new_tokens": 3}},
    {"id": "a", "input_ids": [5, 6, 7], "attention_mask": [1, 0, 1], "token_type_ids": [0, 0, 1]},
    {"text": "a b", "text_pair": "c", "truncation": "only_second", "padding": "max_length", "max_length": 9, "add_special_tokens": True},
    {"text": "\u00e9\ud83d\ude00", "labels": [3, -100], "pooling": "mean", "padding": True},
]
TOKENIZER_CONFIG = {
    "tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": None, "tokenize_chinese_chars": True, "model_max_length": 512,
    "cls_token": "[CLS]", "unk_token": {"__type": "AddedToken", "content": "[UNK]", "lstrip": False, "rstrip": True},
    "additional_special_tokens": ["<x>"], "padding_side": "left", "truncation_side": "left",
    "added_tokens_decoder": {"0": {"content": "[PAD]", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}},
    "clean_up_tokenization_spaces": True,
}


def write(reader, name, text):
    folder = ROOT / "fuzz" / "seeds" / reader
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))


def content(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


for family, reader in (("bert", {"vocab.txt": "vocab_txt"}), ("roberta", {"vocab.json": "vocab_json", "merges.txt": "merges"})):
    directories = json.loads((ROOT / "data/tokenizers" / family / "cases.json").read_text(encoding="utf-8"))["directories"]
    for file, target in reader.items():
        write(target, family, content(directories["by file"]["files"][file]))
    serialized = directories["serialized"]["files"]
    write("tokenizer_json", family, content(serialized["tokenizer.json"]))
    write("tokenizer_config", family, content(serialized["tokenizer_config.json"]))
write("tokenizer_config", "rich", content(TOKENIZER_CONFIG))
write("json_lines", "requests", "".join(json.dumps(line) + "\n" for line in LINES))
for protocol in (2, 5):
    with zipfile.ZipFile(ROOT / f"data/files/tensors/zip-{protocol}.bin") as archive:
        write("pickle", f"protocol-{protocol}", archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl"))))
