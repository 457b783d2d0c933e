#!/usr/bin/env python3
"""Times the tokenizers on a text against the libraries that transformers runs them on, on one thread.

    bench/compare_tokenizers.py --program build/bench/bertgen_tokenizers_bench --data DIR [--rounds 9]

DIR holds real vocabularies and texts (bert-uncased-vocab, roberta-base-tokenizer, bbc-encoder-spm, wikisplit). The peer
of BertTokenizer and RobertaTokenizer is Hugging Face's tokenizers, that of BertGenerationTokenizer is sentencepiece; both
take all lines in one call. Rounds alternate between the two; the table has medians of milliseconds and their ratio.
Needs transformers 5 and sentencepiece.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import sentencepiece
from transformers import AutoTokenizer

MODELS = {
    "BertTokenizer": (["bert-uncased-vocab/vocab.txt"], "vocab.txt"),
    "RobertaTokenizer": (["roberta-base-tokenizer/vocab.json", "roberta-base-tokenizer/merges.txt"], None),
    "BertGenerationTokenizer": (["bbc-encoder-spm/gpt2.model"], "spiece.model"),
}


def peer(name, model):
    """The peer's way to encode a list of lines, and how many tokens a result has."""
    if name == "BertGenerationTokenizer":
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model / "spiece.model"))
        return lambda lines: processor.encode(lines, num_threads=1), len
    tokenizer = AutoTokenizer.from_pretrained(model).backend_tokenizer
    return tokenizer.encode_batch, lambda encoding: len(encoding.ids)


def compare(name, program, model, text, rounds):
    lines = text.read_text().split("\n")[:-1]
    encode, size = peer(name, model)
    encode(lines)
    ours, theirs = [], []
    for _ in range(rounds):
        result = subprocess.run([program, model, text, "2"], check=True, capture_output=True, text=True)
        _, seconds, tokens = result.stdout.split()
        ours.append(float(seconds))
        start = time.perf_counter()
        encodings = encode(lines)
        theirs.append(time.perf_counter() - start)
    expected = sum(map(size, encodings))
    assert int(tokens) == expected or name == "BertGenerationTokenizer", (tokens, expected)
    mine, other = statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3
    print(f"| {name} | {mine:.0f} | {other:.0f} | {other / mine:.2f} |")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", required=True)
    arguments.add_argument("--data", type=pathlib.Path, required=True)
    arguments.add_argument("--rounds", type=int, default=9)
    options = arguments.parse_args()
    print("| tokenizer | bertgen | peer | peer / bertgen |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        text = pathlib.Path(scratch, "text")
        lines = (options.data / "wikisplit" / "validation.tsv").read_text().splitlines()
        text.write_text("".join(line.split("\t")[0] + "\n" for line in lines))
        for name, (files, renamed) in MODELS.items():
            model = pathlib.Path(scratch, name)
            model.mkdir()
            for file in files:
                shutil.copy(options.data / file, model / (renamed or pathlib.Path(file).name))
            (model / "tokenizer_config.json").write_text(f'{{"tokenizer_class": "{name}"}}')
            compare(name, options.program, model, text, options.rounds)


if __name__ == "__main__":
    main()
