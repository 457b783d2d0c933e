#!/usr/bin/env python3
"""Writes tests/data/generation/stop_strings.json: what transformers makes of stop strings.

For a directory of each family in tests/data/tokenizers the text that each id adds to another, and whether random ids
are complete by random strings; and answers of `generate` with stop strings over the checkpoints of tests/data/models.
An answer is kept only if the model in float32, in float64 and with noise of 1e-5 on its weights gives it, and if the
strings change it. Needs transformers 5. Seeded: two runs write the same bytes.

    python tools/make_stopping_fixtures.py
"""
import json
import pathlib
import random
import shutil
import tempfile
import warnings

import torch
import transformers
from transformers import AutoTokenizer
from transformers.generation.stopping_criteria import StopStringCriteria

from make_fixtures import generate, make_batch
from make_generation_fixtures import load

ROOT = pathlib.Path(__file__).parent.parent / "tests/data"
DIRECTORIES = ["bert/uncased", "bert_generation/unigram", "bert_generation/bpe", "roberta/roberta"]
MATCHES, ANSWERS = 150, 40


def read_tokenizer(name):
    family, directory = name.split("/")
    spec = json.loads((ROOT / "tokenizers" / family / "cases.json").read_text())["directories"][directory]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for file, source in spec.get("copies", {}).items():
            shutil.copy(ROOT / "tokenizers" / family / source, folder / file)
        for file, content in spec["files"].items():
            (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
        if not (folder / "tokenizer_config.json").exists():
            (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertGenerationTokenizer"}')
        return AutoTokenizer.from_pretrained(folder)


def token_texts(tokenizer):
    texts, ids = StopStringCriteria.clean_tokenizer_vocab(
        tokenizer, stop_string_matching_mode=StopStringCriteria._get_stop_string_matching_mode(tokenizer))
    found = dict(zip(ids, (text if isinstance(text, bytes) else text.encode() for text in texts)))
    return [found.get(i, b"") for i in range(max(found) + 1)]


def use_known_prefix(tokenizer):
    """transformers puts each token behind "abcdef", and fails with vocabularies that do not know these letters."""
    def survives(word):
        return tokenizer.decode(tokenizer(word, add_special_tokens=False).input_ids) == word
    prefix = next(word for word in ("abcdef", "the", "river") if survives(word))
    StopStringCriteria.clean_tokenizer_vocab.__defaults__ = (prefix, None)


def draw_strings(rng, text):
    """One to three pieces of the text, which is bytes, as strings; none where that cannot be."""
    strings = []
    for _ in range(rng.randint(1, 3)):
        begin = rng.randrange(len(text))
        piece = text[begin:begin + rng.choice([1, 2, 3, 5, 8])].decode(errors="ignore")
        strings += [piece] if piece else []
    return strings


def make_matches(tokenizer, texts, rng):
    found = []
    while len(found) < MATCHES:
        ids = [rng.randrange(len(texts)) for _ in range(rng.randint(1, 7))]
        text = b"".join(texts[i] for i in ids)
        strings = draw_strings(rng, text[-10:] if rng.random() < 0.3 else text) if text else []
        if not strings:
            continue
        try:
            stops = StopStringCriteria(tokenizer, strings)(torch.tensor([ids]), None).item()
        except ValueError:  # no token has any of it
            continue
        found.append(dict(ids=ids, stop_strings=strings, stops=stops))
    assert 0.2 < sum(entry["stops"] for entry in found) / MATCHES < 0.8
    return found


def make_answer(models, tokenizer, texts, rng):
    config = models[0].config
    batch = make_batch(rng, config.encoder.vocab_size, models[0].generation_config.pad_token_id, "plain 1",
                       rng.randint(3, 8))
    beams = rng.choice([1, 1, 2, 3])
    options = dict(num_beams=beams, max_new_tokens=12, eos_token_id=None)
    plain = generate(models[1], batch, options).sequences
    text = b"".join(texts[i] for i in plain[0][1:])
    strings = draw_strings(rng, text[len(text) // 4:])
    if not strings:
        return None
    options["stop_strings"] = strings
    runs = [generate(model, batch, options | dict(tokenizer=tokenizer)) for model in models]
    if any(run.sequences != runs[0].sequences for run in runs) or runs[0].sequences == plain:
        return None
    scores = dict(scores=[round(runs[1].scores.item(), 6)]) if beams > 1 else {}
    return dict(input_ids=batch["input_ids"], generation=options, sequences=runs[1].sequences, **scores)


def make_answers(tokenizer, texts):
    entries = []
    for folder in sorted(path.parent for path in (ROOT / "models").glob("*/config.json")):
        config = json.loads((folder / "config.json").read_text())
        if "encoder" not in config or config["decoder"].get("vocab_size", 0) > len(texts):
            continue
        models, rng = load(folder), random.Random(folder.name)
        for _ in range(4 if models else 0):
            entry = make_answer(models, tokenizer, texts, rng)
            entries += [dict(model=folder.name, **entry)] if entry else []
    return entries[:ANSWERS]


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    directories = {}
    for name in DIRECTORIES:
        tokenizer = read_tokenizer(name)
        use_known_prefix(tokenizer)
        texts = token_texts(tokenizer)
        directories[name] = dict(token_texts=[text.hex() for text in texts],
                                 matches=make_matches(tokenizer, texts, random.Random(name)))
    tokenizer = read_tokenizer(DIRECTORIES[0])
    use_known_prefix(tokenizer)
    answers = make_answers(tokenizer, token_texts(tokenizer))
    lines = [f'"transformers": "{transformers.__version__}"']
    lines.append('"directories": {' + ",\n".join(f'"{name}": {json.dumps(d, separators=(",", ":"))}'
                                                  for name, d in directories.items()) + "}")
    lines.append('"answers": [' + ",".join("\n" + json.dumps(e, separators=(",", ":")) for e in answers) + "]")
    (ROOT / "generation/stop_strings.json").write_text("{" + ",\n".join(lines) + "}\n")
    print(len(answers), "answers of", len({entry["model"] for entry in answers}), "models")


if __name__ == "__main__":
    main()
