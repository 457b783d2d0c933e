#!/usr/bin/env python3
"""Measures sentence fusion on WikiSplit rows that the shipped checkpoint never saw in training.

    tools/evaluate_fusion.py --wikisplit DIR --model examples/fuse-en
    tools/evaluate_fusion.py --wikisplit DIR --write-inputs inputs.txt
    bertgen fuse < inputs.txt > outputs.txt
    tools/evaluate_fusion.py --wikisplit DIR --predictions outputs.txt

The table has a line for each of two trivial baselines and one for the model or the predictions:
  exact          outputs that equal the reference, character by character
  SARI           the mean F1 of the kept, added and deleted n-grams (n from 1 to 4) of lower-cased tokens
  words kept     the share of the source's words that the output has too
  one sentence   outputs that are a single sentence
How texts become tokens and sentences is in wikisplit.py; `--self-test` checks the measures on examples.
Needs nothing for --predictions; for --model: pip install torch transformers sentencepiece safetensors
"""

import argparse
import math
from pathlib import Path

from wikisplit import (
    copy_input, join_with_and, load_splits, measure, sari, split_sentences, words, words_kept)


def read_predictions(path):
    """One output per line; an output that is empty is an empty line."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return lines[:-1] if lines and not lines[-1] else lines


def run_model(folder, sources, options, batch=32):
    """The outputs of the checkpoint in transformers, in float32, with its own generation settings."""
    import torch
    from transformers import AutoTokenizer, EncoderDecoderModel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = EncoderDecoderModel.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    outputs = [""] * len(sources)
    for start in range(0, len(order), batch):
        chosen = order[start:start + batch]
        inputs = tokenizer([sources[i] for i in chosen], return_tensors="pt", padding=True).to(device)
        with torch.no_grad():
            ids = model.generate(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, **options)
        for i, text in zip(chosen, tokenizer.batch_decode(ids, skip_special_tokens=True)):
            outputs[i] = text
    return outputs


def self_test():
    """The measures on examples small enough to work out by hand."""
    # Source a b c d, output a b c e, target a b e.
    # n = 1: kept abc of ab: F 0.8;      added e of e: F 1;       deleted d of cd: F 2/3
    # n = 2: kept ab bc of ab: F 2/3;    added ce of be: F 0;     deleted cd of bc cd: F 2/3
    # n = 3: kept abc of none: F 0;      added bce of abe: F 0;   deleted bcd of abc bcd: F 2/3
    # n = 4: kept none of none: F 1;     added abce of none: F 0; deleted abcd of abcd: F 1
    expected = (0.8 + 1 + 2 / 3 + 2 / 3 + 0 + 2 / 3 + 0 + 0 + 2 / 3 + 1 + 0 + 1) / 12 * 100
    assert math.isclose(sari("a b c d", "a b c e", "a b e"), expected), sari("a b c d", "a b c e", "a b e")
    assert math.isclose(sari("A b. C d.", "A b, c d.", "A b, c d."), 100)
    assert words('He paid $3,471.50 (in 1998); "Don\'t!"') == [
        "he", "paid", "$", "3,471.50", "(", "in", "1998", ")", ";", '"', "don't", "!", '"']
    assert words_kept("One two. Two three.", "One two, three.") == 75
    assert len(split_sentences("Dr. J. Smith of the U.S. Navy came. He left.")) == 2
    assert len(split_sentences('He said "No!" and left.')) == 1
    print("the measures are right on the worked examples")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wikisplit", type=Path, help="folder with tune.tsv and validation.tsv")
    parser.add_argument("--part", choices=("test", "dev"), default="test")
    parser.add_argument("--model", type=Path, help="checkpoint folder, run by transformers")
    parser.add_argument("--beams", type=int, help="instead of the checkpoint's own number of beams")
    parser.add_argument("--length-penalty", type=float, help="instead of the checkpoint's own")
    parser.add_argument("--predictions", type=Path, help="text file, one output per line")
    parser.add_argument("--write-inputs", type=Path, help="writes the part's inputs, one per line, and stops")
    parser.add_argument("--write-outputs", type=Path, help="writes the model's outputs, one per line")
    parser.add_argument("--self-test", action="store_true", help="checks the measures and stops")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    if not args.wikisplit:
        parser.error("--wikisplit is needed")

    _, dev, test = load_splits(args.wikisplit)
    pairs = test if args.part == "test" else dev
    if args.write_inputs:
        args.write_inputs.write_text("".join(pair.source + "\n" for pair in pairs), encoding="utf-8")
        return

    rows = {"copy the input": [copy_input(pair) for pair in pairs],
            "join with \", and\"": [join_with_and(pair) for pair in pairs]}
    if args.model:
        options = {"num_beams": args.beams, "length_penalty": args.length_penalty}
        options = {key: value for key, value in options.items() if value is not None}
        outputs = run_model(args.model, [pair.source for pair in pairs], options)
        rows[" ".join([args.model.resolve().name, *(f"{k} {v}" for k, v in options.items())])] = outputs
        if args.write_outputs:
            args.write_outputs.write_text("".join(output + "\n" for output in outputs), encoding="utf-8")
    if args.predictions:
        rows[args.predictions.name] = read_predictions(args.predictions)

    print(f"| on {len(pairs)} {args.part} rows | exact | SARI | words kept | one sentence |")
    print("|---|---|---|---|---|")
    for name, outputs in rows.items():
        m = measure(pairs, outputs)
        print(f"| {name} | {m['exact']:.1f} % | {m['sari']:.1f} | {m['kept']:.1f} % | {m['single']:.1f} % |")


if __name__ == "__main__":
    main()
