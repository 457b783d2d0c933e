#!/usr/bin/env python3
"""Times the tokenizers on a text against Hugging Face's library tokenizers, on one thread.

    bench/compare_tokenizers.py --program build/bench/bertgen_tokenizers_bench --data DIR [--rounds 9]

DIR holds real vocabularies and texts (bert-uncased-vocab, roberta-base-tokenizer, bbc-encoder-spm, wikisplit). The peer
takes all lines in one call. BertGenerationTokenizer has no form of its own there: its peers are the same pieces as a
Unigram model of tokenizers, and sentencepiece, which transformers runs it on. Rounds alternate; the table has medians of
milliseconds and their ratio. Needs transformers 5 and sentencepiece.
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
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

MODELS = {
    "BertTokenizer": (["bert-uncased-vocab/vocab.txt"], "vocab.txt"),
    "RobertaTokenizer": (["roberta-base-tokenizer/vocab.json", "roberta-base-tokenizer/merges.txt"], None),
    "BertGenerationTokenizer": (["bbc-encoder-spm/gpt2.model"], "spiece.model"),
}


def unigram(processor):
    """A SentencePiece model for tokenizers. Its rules of normalisation are NFKC in the main."""
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=processor.unk_id(), byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def peers(name, model):
    """Names of peers, with their way to encode a list of lines."""
    if name != "BertGenerationTokenizer":
        return {"tokenizers": AutoTokenizer.from_pretrained(model).backend_tokenizer.encode_batch}
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model / "spiece.model"))
    return {"tokenizers": unigram(processor).encode_batch,
            "sentencepiece": lambda lines: processor.encode(lines, num_threads=1)}


def compare(name, program, model, text, rounds):
    lines = text.read_text().split("\n")[:-1]
    ways = peers(name, model)
    ours, theirs = [], {peer: [] for peer in ways}
    for _ in range(rounds):
        result = subprocess.run([program, model, text, "2"], check=True, capture_output=True, text=True)
        ours.append(float(result.stdout.split()[1]))
        for peer, encode in ways.items():
            start = time.perf_counter()
            encode(lines)
            theirs[peer].append(time.perf_counter() - start)
    mine = statistics.median(ours) * 1e3
    for peer, seconds in theirs.items():
        other = statistics.median(seconds) * 1e3
        print(f"| {name} | {mine:.0f} | {peer} | {other:.0f} | {other / mine:.2f} |", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", required=True)
    arguments.add_argument("--data", type=pathlib.Path, required=True)
    arguments.add_argument("--rounds", type=int, default=9)
    options = arguments.parse_args()
    print("| tokenizer | bertgen | peer | milliseconds | peer / bertgen |\n|---|---|---|---|---|")
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
