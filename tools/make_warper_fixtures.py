#!/usr/bin/env python3
"""Writes tests/data/generation/warpers.json: what transformers' sampling cut-offs leave of rows of scores.

Rows of random scores go through the processors that `generate` builds for random sampling options. A case is
kept only if float32 and float64 drop the same tokens: where they differ, a score lies on a limit. Seeded: two
runs write the same bytes. Needs transformers 5 and torch on a CPU.

    python tools/make_warper_fixtures.py
"""
import json
import pathlib
import random

import torch
import transformers

from make_fixtures import generate

ROOT = pathlib.Path(__file__).parent.parent / "tests/data"
SEED, ROWS, CASES, VOCAB = 7, 12, 160, 60
CHOICES = dict(temperature=[0.3, 0.7, 1.5, 4.0], top_h=[0.2, 0.5, 0.9, 1.0], top_k=[0, 1, 3, 10, 200],
               top_p=[0.05, 0.5, 0.8, 0.95], min_p=[0.01, 0.1, 0.5, 1.0], typical_p=[0.1, 0.5, 0.9],
               epsilon_cutoff=[3e-4, 0.01, 0.1], eta_cutoff=[3e-4, 0.05, 0.3], renormalize_logits=[True])


def make_row(rng):
    """Scores as float32 numbers; some rows are flat, some peaked, some have banned tokens."""
    spread, row = rng.choice([0.3, 1, 3, 8]), torch.empty(VOCAB)
    row.copy_(torch.tensor([rng.gauss(0, spread) for _ in range(VOCAB)]))
    if rng.random() < 0.4:
        row[rng.sample(range(VOCAB), rng.choice([5, 40]))] = -torch.inf
    return row


def main():
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    rng = random.Random(SEED)
    model = transformers.EncoderDecoderModel.from_pretrained(ROOT / "models/plain", dtype=torch.float64).eval()
    rows, cases, ties = [make_row(rng) for _ in range(ROWS)], [], 0
    singles = [{key: value} for key, values in CHOICES.items() for value in values]
    while len(cases) < CASES:
        number = rng.randrange(ROWS)
        options = singles.pop(0) if singles else {
            key: rng.choice(CHOICES[key]) for key in sorted(rng.sample(list(CHOICES), rng.randint(2, 4)))}
        beams, eos = rng.choice([1, 1, 3]), rng.choice([[1], [1, 5, 7], None])
        run = generate(model, dict(input_ids=[[3, 4, 5]]), dict(
            options, do_sample=True, num_beams=beams, eos_token_id=eos, max_new_tokens=1))
        exact, single = (run.processors(torch.tensor([[2]]), rows[number].to(dtype)[None])[0]
                         for dtype in (torch.float64, torch.float32))
        if (exact.isfinite() != single.isfinite()).any():
            ties += 1
            continue
        cases.append(dict(options=dict(options, num_beams=beams), eos=eos or [], row=number,
                          scores=[value if value > -torch.inf else None for value in exact.tolist()]))

    folder = ROOT / "generation"
    folder.mkdir(parents=True, exist_ok=True)
    listed = [[value if value > -torch.inf else None for value in row.tolist()] for row in rows]
    parts = [f'"transformers": "{transformers.__version__}"']
    for name, values in (("rows", listed), ("cases", cases)):
        parts.append(f'"{name}": [' + ",".join("\n" + json.dumps(value) for value in values) + "]")
    (folder / "warpers.json").write_text("{" + ",\n".join(parts) + "}\n")
    print(f"{len(cases)} cases, {ties} on a limit left out")


if __name__ == "__main__":
    main()
