#!/usr/bin/env python3
"""Compares greedy search that checks guesses with plain greedy search on sentence fusion: same ids, in fewer steps.

    bench/compare_lookup.py --program build/bertgen --wikisplit DIR [--model DIR] [--assistant DIR] [--threads 1]

The lines are the 1,000 of WikiSplit that examples/fuse-en never saw in training. The table has, for each kind of guess,
the lines whose ids are those of plain search, decoder steps and generated tokens a step, and for two batch sizes the
seconds of the whole run, start and loading included. Exit status 1 if a line differs. Needs nothing but Python.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from wikisplit import load_splits


def run(args, sources, options, batch):
    """The best sequence of each line, and the seconds that all took."""
    command = [args.program, "generate", "--jsonl", "--model", args.model, "--threads", str(args.threads), "--batch-size",
               str(batch), "--num-beams", "1", "--output-scores", "true", *options]
    lines = "".join(json.dumps({"text": source}) + "\n" for source in sources)
    start = time.perf_counter()
    out = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout
    seconds = time.perf_counter() - start
    return [json.loads(line)["sequences"][0] for line in out.splitlines()], seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--wikisplit", required=True)
    parser.add_argument("--model", default=str(ROOT / "examples/fuse-en"))
    parser.add_argument("--assistant")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    guesses = {"none": [], "prompt lookup, 8": ["--prompt-lookup-num-tokens", "8"],
               "source lookup, 4": ["--source-lookup-num-tokens", "4"],
               "source lookup, 8": ["--source-lookup-num-tokens", "8"],
               "source lookup, 16": ["--source-lookup-num-tokens", "16"]}
    if args.assistant:
        guesses["assistant"] = ["--assistant-model", args.assistant]
    sources = [pair.source for pair in load_splits(args.wikisplit)[2]]
    plain = differ = None
    print("| guesses | same ids | steps | tokens / step | seconds, batch 1 | seconds, batch 16 |\n|---|---|---|---|---|---|")
    for name, options in guesses.items():
        (answers, one), (batched, many) = (run(args, sources, options, batch) for batch in (1, 16))
        plain = plain or answers
        same = sum(a["ids"] == b["ids"] == c["ids"] for a, b, c in zip(plain, answers, batched, strict=True))
        differ = differ or same < len(sources)
        tokens, steps = (sum(count) for count in zip(*((len(a["ids"]) - 1, a["steps"]) for a in answers)))
        print(f"| {name} | {same} of {len(sources)} | {steps} | {tokens / steps:.2f} | {one:.2f} | {many:.2f} |", flush=True)
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
