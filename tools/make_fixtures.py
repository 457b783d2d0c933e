#!/usr/bin/env python3
"""Writes the model fixtures of tests/data/models: small random checkpoints and what transformers answers.

Each directory holds a checkpoint (config.json, model.safetensors, mostly generation_config.json),
`expected.safetensors` (float64 forward passes and their inputs) and `expected.json` (answers of `generate`).
Every draw is seeded: two runs write the same bytes. Needs transformers 5 and torch on a CPU.

    python tools/make_fixtures.py [--output tests/data/models] [--only NAME...]
"""
import argparse
import collections
import copy
import json
import pathlib
import random
import shutil
import warnings

import torch
import transformers
from transformers import BertForMaskedLM, BertGenerationDecoder, BertGenerationEncoder

from fixture_cases import CASES, ERRORS, EVERY, PER_CASE, ROTATING, SEED, STANDALONE, WARM
from fixture_checkpoints import (listed, make_checkpoint, make_half_config, randomise, start_id,
                                 write_safetensors)


def make_batch(rng, vocab, pad, style, longest):
    """Random source rows: `style` names the mask and perhaps the number of rows. Row 0 is the longest."""
    kind, *rows = style.split()
    rows = int(rows[0]) if rows else rng.randint(2, 3)
    ids = [[rng.choice([i for i in range(vocab) if i != pad]) for _ in range(longest)] for _ in range(rows)]
    mask = [[1] * longest for _ in range(rows)]
    for row in range(1, rows) if kind in ("right", "left", "pads") else ():
        absent = rng.randint(1, longest - 2)
        for j in range(absent):
            j = j if kind == "left" else longest - 1 - j
            ids[row][j], mask[row][j] = pad or 0, 0
    for row in range(rows) if kind == "holes" else ():
        for j in rng.sample(range(longest), rng.randint(1, longest // 2)):
            mask[row][j] = 0
    mask = None if kind in ("plain", "pads") else mask
    return dict(input_ids=ids, attention_mask=mask, decoder_input_ids=None)


def make_prompt(rng, spec, rows, kind):
    """decoder_input_ids of length 2 to 4; transformers prepends the start id if no row begins with it."""
    start, width = start_id(spec), rng.randint(2, 4)
    free = [i for i in range(spec["dec"]["vocab_size"]) if i not in [start, *listed(spec["ids"]["eos"])]]
    prompt = [[rng.choice(free) for _ in range(width)] for _ in range(rows)]
    for row in range(rows):
        if kind == "started" or (kind == "mixed" and row % 2 == 0):
            prompt[row][0] = start
    return prompt


def forward(model, tensors):
    """The forward passes: on given decoder inputs, then on labels where there are any."""
    source = {name: tensors[name].long() for name in ("input_ids", "attention_mask", "token_type_ids")
              if name in tensors}
    plain = model(**source, decoder_input_ids=tensors["decoder_input_ids"])
    out = dict(encoder_last_hidden_state=plain.encoder_last_hidden_state, logits=plain.logits)
    if "labels" in tensors:
        labelled = model(**source, labels=tensors["labels"])
        out |= dict(loss=labelled.loss, label_logits=labelled.logits)
    return out


def largest_gap(exact, single):
    """The largest float32 error over all outputs; too large a one would make a useless fixture."""
    gap = max((exact[name] - single[name].double()).abs().max().item() for name in exact)
    assert gap < 5e-5 and all(tensor.isfinite().all() for tensor in exact.values()), gap
    return gap


def make_tensors(models, spec, rng):
    """expected.safetensors of an encoder-decoder case, and the largest float32 error in it."""
    ids, vocab, rows = spec["ids"], spec["dec"]["vocab_size"], rng.randint(2, 4)
    batch = make_batch(rng, spec["enc"]["vocab_size"], ids["pad"], f"{spec['mask']} {rows}", 24 // rows)
    width = 16 // rows
    target, labels = torch.tensor([rng.randrange(vocab) for _ in range(2 * rows * width)]).view(2, rows, -1)
    tensors = dict(input_ids=torch.tensor(batch["input_ids"]), decoder_input_ids=target,
                   attention_mask=torch.tensor(batch["attention_mask"], dtype=torch.uint8))
    types = spec["enc"].get("type_vocab_size", 0)
    if types:
        tensors["token_type_ids"] = torch.tensor([[rng.randrange(types) for _ in row]
                                                  for row in batch["input_ids"]])
    if None not in (ids["pad"], ids["start"]) and "ids-below" not in spec["files"]:  # else labels are refused
        for row in range(1, rows):
            labels[row, rng.randint(1, width - 1):] = -100
        labels[0, rng.randrange(1, width)] = -100
        tensors["labels"] = labels
    exact = forward(models["f64"], tensors)
    return {**tensors, **exact}, largest_gap(exact, forward(models["f32"], tensors))


Run = collections.namedtuple("Run", "sequences scores prompt config processors out")


def generate(model, batch, options):
    """model.generate with rows cut after their end, and the lengths and processors it worked with."""
    seen, original = {}, model._get_logits_processor

    def spy(**kwargs):
        seen.update(kwargs, processors=original(**kwargs))
        return seen["processors"]

    model._get_logits_processor = spy
    tensors = {name: torch.tensor(rows) for name, rows in batch.items() if rows is not None}
    try:
        out = model.generate(**tensors, **{**options, "return_dict_in_generate": True, "output_scores": True})
    finally:
        del model._get_logits_processor
    config, prompt, rows = seen["generation_config"], seen["input_ids_seq_length"], out.sequences.tolist()
    ends = [] if config._eos_token_tensor is None else config._eos_token_tensor.tolist()
    cuts = [next((i + 1 for i in range(prompt, len(row)) if row[i] in ends), len(row)) for row in rows]
    rows = [row[:cut] for row, cut in zip(rows, cuts)]
    return Run(rows, getattr(out, "sequences_scores", None), prompt, config, seen["processors"], out)


def one_row(batch, row, keep_padding):
    """A batch of one: without its right padding, unless a processor reads the padding too."""
    alone = {name: rows and [rows[row]] for name, rows in batch.items()}
    if alone["attention_mask"] and not keep_padding:
        length = max(j for j, bit in enumerate(alone["attention_mask"][0]) if bit) + 1
        alone |= {name: [alone[name][0][:length]] for name in ("input_ids", "attention_mask")}
    return alone


def cached_logits(model, source, ids, prompt):
    """The logits of one row as generate computes them. Behind a padding id in the past RoBERTa's positions with
    a cache are others than without: the cache's length counts it, the cumulated mask does not."""
    pasts, found, begin = None, [], 0
    for end in range(prompt, ids.shape[1] + 1):
        out = model(**source, decoder_input_ids=ids[:, begin:end], past_key_values=pasts, use_cache=True)
        pasts, begin = out.past_key_values, end
        found.append(out.logits)
    return torch.cat(found, 1)


def exact_logprobs(model, batch, run, sequence):
    """Per generated token, the processed log-probability in float64.

    generate itself rounds logits to float32, whatever the model's type, hence this second way: one full pass
    over the finished sequence, through the processors that generate used.
    """
    source = {name: torch.tensor(batch[name]) for name in ("input_ids", "attention_mask") if batch[name]}
    ids, found = torch.tensor([sequence]), []
    logits = model(**source, decoder_input_ids=ids[:, :-1]).logits
    if model.config.decoder.model_type == "roberta" or transformers.__version__ < "5":  # where use_cache hides the mask
        logits = cached_logits(model, source, ids[:, :-1], run.prompt)
    for step in range(run.prompt, len(sequence)):
        scores = logits[:, step - 1]
        if run.config.num_beams > 1:
            scores = run.processors(ids[:, :step], scores.log_softmax(-1))
        else:
            scores = run.processors(ids[:, :step], scores).log_softmax(-1)
        found.append(scores[0, sequence[step]].item())
    return found


def attempt(models, batch, options, mixed):
    """One generate entry, or the reason why it would not be a stable one."""
    exact, rows = models["f64"], len(batch["input_ids"])
    run, padded = generate(exact, batch, options), any(name.startswith("encoder_") for name in options)
    if any(generate(models[name], batch, options).sequences != run.sequences for name in ("f32", "noisy")):
        return "changes under float32 or under noise of 1e-5 on the weights"
    alone = [run] * rows  # with a mixed prompt, a row alone could get the start id prepended
    if not mixed:
        alone = [generate(exact, one_row(batch, i, padded), options) for i in range(rows)]
        if [row for other in alone for row in other.sequences] != run.sequences:
            return "a row alone answers differently"
    each, beams = len(run.sequences) // rows, run.config.num_beams > 1
    probs = [exact_logprobs(exact, one_row(batch, i // each, True), alone[i // each], sequence)
             for i, sequence in enumerate(run.sequences)]
    scores = [sum(p) / len(p) ** run.config.length_penalty if beams else sum(p) for p in probs]
    if beams and (run.scores - torch.tensor(scores)).abs().max() > 1e-4:
        return "sequences_scores are not those of the returned tokens"
    return dict(sequences=run.sequences, scores=scores, **({} if beams else {"token_logprobs": probs}))


def named_ids(model, spec, batch, rng):
    """Ids that matter to this batch: what row 0 says first when nothing ends it, the first eos, one apart."""
    eos = listed(spec["ids"]["eos"])
    free = [i for i in range(3, spec["dec"]["vocab_size"]) if i not in eos]
    run = generate(model, batch, dict(num_beams=1, eos_token_id=None, max_new_tokens=5))
    said = [i for i in dict.fromkeys(run.sequences[0][run.prompt:]) if i in free]
    said += [i for i in rng.sample(free, 9) if i not in said]
    return {**{f"said{i}": said[i] for i in range(3)}, "other": said[-1], "eos0": eos[0]}


def resolve(value, ids):
    if isinstance(value, dict):
        return {key: resolve(item, ids) for key, item in value.items()}
    return [resolve(item, ids) for item in value] if isinstance(value, list) else ids.get(value, value)


def make_entry(models, case_name, spec, order, tally):
    """Tries seeds until one gives a stable entry and, for a processor, one that it changes."""
    name, fallback = order["name"], None
    processor, vocabs = name.startswith("processor/"), (spec["enc"]["vocab_size"], spec["dec"]["vocab_size"])
    plain = {key: value for key, value in order["options"].items() if key.startswith(("num_", "max_"))}
    for seed in range(8):
        rng = random.Random(f"{case_name}/{name}/{seed}")
        batch = make_batch(rng, min(vocabs) if processor else vocabs[0], spec["ids"]["pad"], order["style"],
                           rng.randint(4, 10))
        if order["style"] == "echo":  # a source that says what the answer would, or no n-gram were ever met
            said = generate(models["f64"], batch, plain | dict(eos_token_id=None)).sequences
            each = len(said) // len(batch["input_ids"])
            batch["input_ids"] = [[i % min(vocabs) for i in row[-6:]] for row in said[::each]]
            batch["attention_mask"] = [[1] * len(row) for row in batch["input_ids"]]
        if order["prompt"]:
            batch["decoder_input_ids"] = make_prompt(rng, spec, len(batch["input_ids"]), order["prompt"])
        options = resolve(order["options"], named_ids(models["f64"], spec, batch, rng))
        entry = attempt(models, batch, options, order["prompt"] == "mixed")
        if isinstance(entry, str):
            tally["dropped"].append(f"{case_name}: {name}, seed {seed}: {entry}")
            continue
        fallback = dict(name=name, **batch, generation=options, **entry)
        if not processor or generate(models["f64"], batch, plain).sequences != entry["sequences"]:
            return fallback
    tally["without effect" if fallback else "lost"].append(f"{case_name}: {name}")
    return fallback


def make_errors(model, batch):
    """What transformers refuses, in its words."""
    found = []
    for name, options in ERRORS.items():
        try:
            generate(model, batch, options)
        except ValueError as error:
            found.append(dict(name=name, generation=options, error=str(error).splitlines()[0]))
    assert len(found) >= len(ERRORS) - 1, found  # where the config sets max_new_tokens, max_length=1 is legal
    return found


def write_expected(folder, tensors, gap, entries=(), errors=()):
    """expected.safetensors, and expected.json with one entry to a line."""
    write_safetensors(folder / "expected.safetensors", tensors, {})
    meta = dict(transformers=transformers.__version__, torch=torch.__version__, seed=SEED, max_f32_error=gap)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in meta.items()]
    for key, values in (("generate", entries), ("errors", errors)):
        lines.append(f'"{key}": [' + ",".join("\n" + json.dumps(value) for value in values) + "]")
    (folder / "expected.json").write_text("{" + ",\n".join(lines) + "}\n")


def make_case(index, name, spec, folder, tally):
    """Everything of one encoder-decoder directory; returns its entries."""
    model = make_checkpoint(name, spec, folder)
    models = dict(f32=model, f64=copy.deepcopy(model).double(), noisy=copy.deepcopy(model).double())
    generator = torch.Generator().manual_seed(SEED)
    for tensor in models["noisy"].parameters():
        tensor.data *= 1 + 1e-5 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    tensors, gap = make_tensors(models, spec, random.Random(f"{name}/forward"))
    dealt = [ROTATING[(index * PER_CASE + i) % len(ROTATING)] for i in range(PER_CASE)]
    entries = [make_entry(models, name, spec, order, tally) for order in EVERY + dealt]
    entries = [entry for entry in entries if entry]
    batch = make_batch(random.Random(0), spec["enc"]["vocab_size"], spec["ids"]["pad"], "right 2", 6)
    write_expected(folder, tensors, gap, entries, make_errors(model, batch))
    return entries


def make_standalone(folder, name, kind, sizes, style, dtype):
    """A half by itself: every layer's hidden states, and an encoder's output or a decoder's logits."""
    model = kind(make_half_config(sizes)).eval()
    randomise(model, name)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    single, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    pad = single.config.pad_token_id
    batch = make_batch(random.Random(name), sizes["vocab_size"], pad, f"{style} 3", 8)
    ids, mask = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])
    found = []
    for model in (copy.deepcopy(single).double(), single):
        out = model.eval()(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        main = "logits" if "logits" in out else "last_hidden_state"
        found.append({"hidden_states": torch.stack(out.hidden_states), main: out[main]})
    tensors = dict(found[0], input_ids=ids, attention_mask=mask.to(torch.uint8))
    write_expected(folder, tensors, largest_gap(*found))


def make_warm_start(folder):
    """A BERT with its head for masked words, and what BertGeneration's classes make of it."""
    model = BertForMaskedLM(make_half_config(WARM)).eval()
    randomise(model, "warm-start")
    model.save_pretrained(folder)
    batch = make_batch(random.Random("warm-start"), WARM["vocab_size"], 0, "right 3", 8)
    ids, mask = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])
    tensors = dict(input_ids=ids, attention_mask=mask.to(torch.uint8))
    for kind, options in ((BertGenerationEncoder, {}), (BertGenerationDecoder, dict(is_decoder=True))):
        half = kind.from_pretrained(folder, dtype=torch.float64, **options).eval()
        out = half(input_ids=ids, attention_mask=mask)
        tensors |= {name: out[name] for name in ("last_hidden_state", "logits") if name in out}
    write_expected(folder, tensors, 0.0)


def summarise(output, names, entries, tally):
    """Prints sizes and, per option, how many entries use it."""
    sizes = {name: sum(path.stat().st_size for path in (output / name).rglob("*")) / 1024 for name in names}
    for name, size in sizes.items():
        print(f"{name:22}{size:7.1f} KB {len(entries.get(name, ())):4} entries")
    print(f"{len(sizes)} directories, {sum(sizes.values()):.0f} KB")
    every = [entry for group in entries.values() for entry in group]
    counts = collections.Counter(key for entry in every for key in entry["generation"])
    counts += collections.Counter(entry["name"].split("/")[0] + "/" for entry in every)
    print(f"{len(every)} generate entries, of these with")
    print(*(f"{count:5} {key}" for key, count in sorted(counts.items())), sep="\n")
    for kind, lines in tally.items():
        print(f"{len(lines)} {kind}", *lines, sep="\n  ")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("tests/data/models"))
    parser.add_argument("--only", nargs="*", help="names of cases; default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    wanted, entries, tally = args.only or [*CASES, *STANDALONE, "warm-start"], {}, collections.defaultdict(list)
    for name in wanted:
        folder = args.output / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if name in CASES:
            entries[name] = make_case(list(CASES).index(name), name, CASES[name], folder, tally)
        elif name == "warm-start":
            make_warm_start(folder)
        else:
            make_standalone(folder, name, *STANDALONE[name])
        (folder / "model.safetensors").chmod(0o644)
    summarise(args.output, wanted, entries, tally)


if __name__ == "__main__":
    main()
