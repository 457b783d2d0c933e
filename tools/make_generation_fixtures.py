#!/usr/bin/env python3
"""Writes tests/data/generation/combinations*.json: what `generate` answers to random combinations of options.

Over the checkpoints of tests/data/models, each entry draws a search, a batch and some options. It is kept only if the
model in float32, in float64 and with noise of 1e-5 on its weights, and each row alone, give the same ids. Searches that
transformers 5 has go to combinations.json, with the processed scores and logits of some in scores.safetensors; those
that it has no more to combinations_v4.json, which transformers 4 must write. Seeded: two runs write the same bytes.

    python tools/make_generation_fixtures.py        # with transformers 5
    python tools/make_generation_fixtures.py        # with transformers 4.46, in an environment of its own
"""
import collections
import copy
import json
import pathlib
import random
import warnings

import torch
import transformers

from fixture_checkpoints import listed, write_safetensors
from make_fixtures import exact_logprobs, generate, make_batch, make_prompt, one_row

ROOT = pathlib.Path(__file__).parent.parent / "tests/data"
V4 = transformers.__version__.startswith("4.")
SEED, PER_MODEL, FULL_SCORES = 11, 8 if V4 else 11, 8
Draw = collections.namedtuple("Draw", "batch options words")


def load(folder):
    """A checkpoint in float32, float64, and float64 with noise; none where transformers would miss tensors, and where
    version 4 has not the activation."""
    if V4 and any(json.loads((folder / "config.json").read_text())[half].get("hidden_act", "gelu")
                  not in transformers.activations.ACT2FN for half in ("encoder", "decoder")):
        return None
    model, info = transformers.EncoderDecoderModel.from_pretrained(
        folder, **{"torch_dtype" if V4 else "dtype": torch.float32}, output_loading_info=True)
    if info["missing_keys"]:
        return None
    model.generation_config._from_model_config = False  # version 4 would read config.json again
    models = [model.eval(), *(copy.deepcopy(model).double() for _ in range(2))]
    generator = torch.Generator().manual_seed(SEED)
    for tensor in models[2].parameters():
        tensor.data *= 1 + 1e-5 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    for model in models:
        model.register_forward_hook(round_logits)
    return models


def round_logits(model, _, out):
    """As generate() does; transformers 4 in group search too late."""
    if getattr(model, "generates", False):
        out["logits"] = out.logits.float()
    return out


def answer(model, batch, options):
    model.generates = True
    try:
        return generate(model, batch, options)
    finally:
        model.generates = False


def draw_words(rng, said, free):
    """Some ids that the answer has anyway and some that it has not."""
    pick = lambda: rng.choice(said + said + free)
    return [[pick() for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(1, 3))]


def draw_rules(rng, said, free, eos):
    """Options of processors. `said`: ids that the plain answer has."""
    pick = lambda most: rng.sample(sorted(set(said + free)), rng.randint(1, most))
    rules = dict(
        repetition_penalty=lambda: rng.choice([0.7, 1.3, 1.8]),
        no_repeat_ngram_size=lambda: rng.randint(1, 3),
        encoder_no_repeat_ngram_size=lambda: rng.randint(1, 3),
        bad_words_ids=lambda: draw_words(rng, said, free),
        sequence_bias=lambda: [[list(word), rng.choice([-4.0, -1.5, 1.25, 3.0])]  # version 4 takes each word once
                               for word in sorted({tuple(word) for word in draw_words(rng, said, free)})],
        min_new_tokens=lambda: rng.randint(1, 6),
        min_length=lambda: rng.randint(2, 8),
        forced_bos_token_id=lambda: rng.choice(said),
        forced_eos_token_id=lambda: rng.choice(eos) if eos else rng.choice(free),
        exponential_decay_length_penalty=lambda: [rng.randint(0, 4), rng.choice([0.8, 1.1, 1.5])],
        suppress_tokens=lambda: pick(4),
        begin_suppress_tokens=lambda: pick(4),
        remove_invalid_values=lambda: True,
        renormalize_logits=lambda: True)
    if not V4:  # there it is applied to the first beam alone
        rules["encoder_repetition_penalty"] = lambda: rng.choice([0.6, 1.5, 2.5])
    names = rng.sample(sorted(rules), rng.choice([0, 1, 1, 2, 2, 3, 4]))
    return {name: rules[name]() for name in names}


def draw_search(rng, rows, said, free, eos):
    beams = rng.randint(2, 5)
    more = dict(length_penalty=rng.choice([-0.5, 0.0, 0.6, 1.0, 1.0, 2.0]), early_stopping=rng.choice([True, False, "never"]))
    if not V4:
        if rng.random() < 0.4:
            lookup = dict(prompt_lookup_num_tokens=rng.randint(1, 5), max_matching_ngram_size=rng.randint(1, 3))
            return dict(num_beams=1, do_sample=False) | (lookup if rows == 1 and rng.random() < 0.6 else {})
        return dict(num_beams=beams, num_return_sequences=rng.randint(1, beams), do_sample=False, **more)
    kind = rng.choice(["group", "constrained", "contrastive"])
    if kind == "contrastive":
        return dict(num_beams=1, penalty_alpha=rng.choice([0.1, 0.4, 0.6, 0.9]), top_k=rng.choice([2, 3, 5, 8]))
    if kind == "group":
        groups = rng.choice([2, 2, 3])
        beams = groups * rng.choice([1, 2, 2, 3])
        return dict(num_beams=beams, num_beam_groups=groups, diversity_penalty=rng.choice([0.3, 1.0, 2.5]),
                    num_return_sequences=rng.randint(1, beams), **more)
    words = []
    for _ in range(rng.randint(1, 2)):
        alternatives = draw_words(rng, said, free) if rng.random() < 0.4 else draw_words(rng, said, free)[:1]
        begins = lambda a, b: a == b[:len(a)]
        kept = [a for i, a in enumerate(alternatives)
                if not any(begins(a, b) or begins(b, a) for b in alternatives[:i])]
        words.append(kept if len(kept) > 1 else kept[0])
    return dict(num_beams=beams, force_words_ids=words, num_return_sequences=rng.randint(1, beams), **more)


def draw(rng, model):
    decoder, encoder = model.config.decoder, model.config.encoder
    config = model.generation_config
    eos, pad = listed(config.eos_token_id), config.pad_token_id
    batch = make_batch(rng, encoder.vocab_size, pad, rng.choice(["plain", "right", "left", "holes"]) +
                       f" {rng.randint(1, 3)}", rng.randint(3, 10))
    plain = generate(model, batch, dict(num_beams=1, eos_token_id=None, max_new_tokens=6))
    free = [i for i in range(3, decoder.vocab_size) if i not in eos]
    said = [i for row in plain.sequences for i in row[plain.prompt:] if i in free] or free[:3]
    free = rng.sample(free, 5)
    options = draw_search(rng, len(batch["input_ids"]), said, free, eos)
    if rng.random() < 0.2:
        eos = rng.choice([eos + [rng.choice(said)], [rng.choice(said)], []])
        options["eos_token_id"] = eos or None
    options["max_new_tokens"] = rng.randint(2, 12)
    options |= draw_rules(rng, said, free, eos)
    causal = not V4 or decoder.model_type != "bert-generation"  # version 4 forgets the mask of longer prompts
    if causal and "forced_bos_token_id" not in options and rng.random() < 0.2:
        spec = dict(ids=dict(bos=config.bos_token_id, start=config.decoder_start_token_id, eos=eos),
                    dec=dict(vocab_size=decoder.vocab_size))
        batch["decoder_input_ids"] = make_prompt(rng, spec, len(batch["input_ids"]), "started")
    return batch, options


def beam_indices(run, rows):
    """Row by row, cut where a row ends."""
    return [[i for i in row if i >= 0] for row in run.out.beam_indices.tolist()[:rows]]


def ended(run, pad):
    """Whole rows: an end token may be part of a word. Padding is what follows an end token."""
    rows = []
    for row in run.out.sequences.tolist():
        cut = len(row)
        while row[cut - 1] == pad:
            cut -= 1
        eos = run.config._eos_token_tensor
        rows.append(row[:cut] if eos is not None and row[cut - 1] in eos else row)
    return rows


def allow(modulus):
    return lambda batch_id, ids: [i for i in range(40) if (i + int(ids[-1]) + batch_id) % modulus == 0]


def make_entry(models, batch, options):
    """The entry, or why it would not be a stable one."""
    given = dict(options)
    if "prefix_modulus" in given:
        given["prefix_allowed_tokens_fn"] = allow(given.pop("prefix_modulus"))
    runs = [answer(model, batch, given) for model in models]
    run = runs[1]
    if any(other.sequences != run.sequences for other in runs):
        return "changes under float32 or noise"
    rows, padded = len(batch["input_ids"]), any(name.startswith("encoder_") for name in options)
    alone = [run] * rows
    if "prefix_modulus" not in options:
        alone = [answer(models[1], one_row(batch, i, padded), given) for i in range(rows)]
        if [row for other in alone for row in other.sequences] != run.sequences:
            return "a row alone answers differently"
    entry = dict(sequences=run.sequences)
    beams, each = options["num_beams"] > 1, len(run.sequences) // rows
    if V4 and beams:  # what it took off for other groups, and an end token it put in place of another, are not seen here
        if not (run.scores > -1e4).all():
            return "a token without a probability"
        if "force_words_ids" in options:
            pad = run.config._pad_token_tensor
            entry = dict(sequences=ended(run, None if pad is None else pad.item()))
        return entry | dict(scores=run.scores.tolist())
    if beams and (run.out.beam_indices == -1).all(1).any():
        return "a hypothesis is a place holder"
    probs = []
    for i, sequence in enumerate(run.sequences):
        for processor in run.processors:
            if "prefix_modulus" in options and hasattr(processor, "_prefix_allowed_tokens_fn"):  # told of one row only
                processor._num_beams = 1
                processor._prefix_allowed_tokens_fn = (
                    lambda _, ids, row=i // each: given["prefix_allowed_tokens_fn"](row, ids))
        probs.append(exact_logprobs(models[1], one_row(batch, i // each, True), alone[i // each], sequence))
    if not all(value > -1e4 for row in probs for value in row):
        return "a token without a probability"
    scores = [sum(p) / len(p) ** options["length_penalty"] if beams else sum(p) for p in probs]
    if beams and (run.scores - torch.tensor(scores)).abs().max() > 1e-4:
        return "sequences_scores are not those of the returned tokens"
    entry |= dict(scores=scores, token_logprobs=[[round(value, 8) for value in row] for row in probs])
    return entry | (dict(beam_indices=beam_indices(run, len(run.sequences))) if beams else {})


def full_scores(model, batch, options):
    """scores and logits of each step, [steps, rows, vocab]."""
    out = generate(model, batch, dict(options, output_logits=True)).out
    return {name: torch.stack(out[name]).float() for name in ("scores", "logits")}


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    entries, dropped, tensors = [], collections.Counter(), {}
    for folder in sorted(path.parent for path in (ROOT / "models").glob("*/config.json")):
        if "encoder" not in json.loads((folder / "config.json").read_text()):
            continue
        models = load(folder)
        rng, count = random.Random(f"{SEED} {folder.name} {V4}"), 0
        while models and count < PER_MODEL:
            batch, options = draw(rng, models[1])
            if not V4 and rng.random() < 0.1:
                options["prefix_modulus"] = rng.choice([2, 3])
            try:
                entry = make_entry(models, batch, options)
            except (ValueError, RuntimeError, IndexError, ZeroDivisionError) as error:
                entry = str(error).splitlines()[0][:70]
            if isinstance(entry, str):
                dropped[entry] += 1
                continue
            count += 1
            batch = {name: rows for name, rows in batch.items() if rows}
            entries.append(dict(model=folder.name, **batch, generation=options, **entry))
            small = not V4 and "prefix_modulus" not in options and len(batch["input_ids"]) == 1
            if small and len(tensors) < 2 * FULL_SCORES and rng.random() < 0.3:
                found = full_scores(models[1], batch, options)
                tensors |= {f"{len(entries) - 1}/{name}": tensor for name, tensor in found.items()}
    name = "combinations_v4" if V4 else "combinations"
    lines = ",".join("\n" + json.dumps(entry, separators=(",", ":")) for entry in entries)
    (ROOT / f"generation/{name}.json").write_text(
        f'{{"transformers": "{transformers.__version__}", "entries": [{lines}]}}\n')
    if tensors:
        write_safetensors(ROOT / "generation/scores.safetensors", tensors, {})
    print(len(entries), "entries; options:", collections.Counter(key for e in entries for key in e["generation"]))
    print("dropped:", dropped)


if __name__ == "__main__":
    main()
