#!/usr/bin/env python3
"""Writes tests/data/tokenizers: tiny vocabularies of the three families, and what transformers makes of texts.

Needs transformers 5 and sentencepiece. Run from the root of the repository:

    python3 tools/make_tokenizer_fixtures.py

The vocabularies are made of the sentences below, so they are this project's own; a second run writes the same bytes.
"""

import collections
import io
import json
import os
import pathlib
import random
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import sentencepiece
import tokenizers
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, BertGenerationTokenizer

transformers.logging.set_verbosity_error()

ROOT = pathlib.Path("tests/data/tokenizers").resolve()
OUT = ROOT / "bert_generation"

SUBJECTS = ["The river", "A small boat", "Our neighbour", "The old clock", "A quick fox", "The teacher", "Her garden",
            "The last train", "A young painter", "The town"]
VERBS = ["crosses", "follows", "remembers", "does not see", "waits for", "is near", "likes", "will reach", "has left"]
OBJECTS = ["the bridge", "a green field", "the market in 1984", "the quiet harbour", "an open window", "the mountain",
           "its own shadow", "the winter light", "a long letter", "the café"]
TAILS = [".", "!", "?", ", because it rains.", ", and nobody knows why.", " at 10:30.", ": it's late.",
         "; we're ready."]

# Code points to normalise, as in a *.tsv file of SentencePiece: a small share of NFKC.
RULES = [("FF21", "41"), ("FF22", "42"), ("FF41", "61"), ("FB01", "66 69"), ("2460", "31"), ("65 301", "E9"),
         ("9", "20"), ("A", "20"), ("D", "20"), ("A0", "20"), ("3000", "20"), ("2026", "2E 2E 2E"), ("AD", ""),
         ("FDFA", "61 20 62 20 63")]


def corpus():
    rng = random.Random(0)
    return [f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}{rng.choice(TAILS)}" for _ in range(600)]


def train(name, **options):
    model = io.BytesIO()
    pathlib.Path("rules.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in RULES))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=model, normalization_rule_tsv="rules.tsv", num_threads=1,
        shuffle_input_sentence=False, minloglevel=2, **options)
    (OUT / name).write_bytes(model.getvalue())


def train_all():
    train("spiece.model", model_type="unigram", vocab_size=110, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
          user_defined_symbols=["[SEP]", "ab", "abab", "\uff21\uff22"], control_symbols=["<hidden>"])
    train("bpe.model", model_type="bpe", vocab_size=420, byte_fallback=True)
    train("char.model", model_type="char", vocab_size=70, remove_extra_whitespaces=False, character_coverage=0.999)
    train("word.model", model_type="word", vocab_size=50)
    train("suffix.model", model_type="unigram", vocab_size=90, treat_whitespace_as_suffix=True)


ADDED = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}

# Directories: the model each takes as spiece.model, and its other files.
DIRECTORIES = {
    "unigram": ("spiece.model", {}),
    "bpe": ("bpe.model", {}),
    "char": ("char.model", {}),
    "word": ("word.model", {}),
    "suffix": ("suffix.model", {}),
    "options": ("spiece.model", {"tokenizer_config.json": {
        "tokenizer_class": "BertGenerationTokenizer", "model_max_length": 12, "padding_side": "left",
        "truncation_side": "left", "clean_up_tokenization_spaces": True, "sp_model_kwargs": {},
        "bos_token": {"__type": "AddedToken", "content": "<start>", "lstrip": False, "normalized": False,
                      "rstrip": False, "single_word": False},
        "cls_token": "[CLS]", "mask_token": "the", "unk_token": None, "image_token": "<image>",
        "extra_special_tokens": ["<e1>", "<e2>"]}}),
    "added": ("spiece.model", {"tokenizer_config.json": {
        "model_max_length": 1e30,
        "added_tokens_decoder": {
            "3": {**ADDED, "content": "<unk>"},
            "110": {**ADDED, "content": "<left>", "lstrip": True},
            "111": {**ADDED, "content": "<right>", "rstrip": True},
            "112": {**ADDED, "content": "<word>", "single_word": True, "special": False},
            "113": {**ADDED, "content": "<x>"},
            "114": {**ADDED, "content": "<xy>"}}}}),
    "version 4": ("bpe.model", {
        "tokenizer_config.json": {"tokenizer_class": "BertGenerationTokenizer", "model_max_length": 512,
                                  "additional_special_tokens": ["<old>"], "padding_side": "right"},
        "special_tokens_map.json": {"sep_token": "[END]", "additional_special_tokens": ["<ignored>"],
                                    "pad_token": {"content": "[PAD]", "lstrip": False, "normalized": True,
                                                  "rstrip": False, "single_word": False}},
        "added_tokens.json": {"[PAD]": 421, "[END]": 420, "<old>": 422}}),
    "split specials": ("spiece.model", {"tokenizer_config.json": {"split_special_tokens": True}}),
    "no pad": ("spiece.model", {"tokenizer_config.json": {"pad_token": None}}),
}

TEXTS = [
    "", " ", "   ", "\t\n\r", "\u3000\u00a0", "a", "The river crosses the bridge.", "the  river   crosses",
    "  The river", "The river  ", "\nThe\triver\r\nis near\u00a0the\u3000bridge", "THE RIVER", "caf\u00e9",
    "cafe\u0301",
    "\uff21\uff22\uff41", "\ufb01eld", "\u2460\u2460\u2460", "wait\u2026", "so\u00adft", "\u00ad", " \u00ad ", "\ufdfa",
    "x\ufdfa\ufdfa y", "1984", "10:30", "it's, we're. isn't!", "\u2581", "\u2581\u2581", "a\u2581b", " \u2581 a",
    "<s>", "</s>", "<pad>", "<unk>", "<::::>", "<hidden>", "[SEP]", "the[SEP]river", "ab", "abab", "ababab", "aabbabab",
    "<s>the river</s>", "<s> the river </s>", "the<::::>river", "the <::::> river", "a<pad>b<unk>c", "<<s>>", "< s>",
    "</s></s></s>", "<s", "s>", "<:::>", "<:::::>", "<pad><pad> <pad>", "\uff1cs\uff1e", "<s\u00ad>", "the</s>\u00e9",
    "\u00e9", "\u00e9\u00e9", "x\u00e9\u00e9y", "\u6f22\u5b57", "the\u6f22\u5b57river", "\u05e9\u05dc\u05d5\u05dd",
    "\U0001f642",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\ud55c\uad6d", "\u1112\u1161\u11ab", "e\u0301\u0301\u0301", "\u0301",
    "\ufffd", "\ufeffthe", "\u200b", "a\u200bb", "\u202ethe", "\x00", "a\x00b", "\x01\x02\x7f", "\x1c\x1d\x1e\x1f",
    "\x85", "a\x85b", "\u2028\u2029", "\U0010ffff", "\ue000", "\ufdd0", "<0x41>", "<0xC3><0xA9>", "<start>the<image>",
    "<e1><e2>", "<e1> <e3>", "the theatre", "the [CLS] the", "a <left> b <right> c", "a\t<left>\u3000<right>\n",
    "<left><right>",
    "a <word> b", "a<word>b", "a <word>b", "<word>", "<word><word>", "<x><xy><x", "<xyz>", "[PAD][END]<old><ignored>",
    "a " * 20, "the river " * 4, "\u00e9" * 9, "." * 12, " ." * 6, "a\u0301" * 9, "<s>" * 10,
]


# What is special to BERT and RoBERTa.
MORE_TEXTS = [
    "[CLS]", "the[SEP]river", "[cls]", "<mask>", "the <mask> river", "the<mask>river", " the  river ", "don't we'll",
    "I'M I'm", "x's 'S 't", "\u00c9COLE \u00e9cole", "\u0130\u0131\u1e9e\u00df", "\u039f\u0394\u039f\u03a3", "a\u0315\u0300\u0327b",
    "\u302e\u0327a\u302f\u302e", "\u00bd\u2167 12", "_a_b", "--a--", "\u201cthe\u201d\u2014river\u2026", "\u20ac5 \u00b0 \u00a9",
    "\uf900\u304c\u3042\u30fb\u3002", "\U0002b820\U0002b920", "a" * 100, "a" * 101, "\u00e9" * 101, "trail  ", "a \n b",
    "a\t\tb", "\u0378x\u2e43", "\u1885\u07fd\u08d4a", "THE river's", "##the the##", "<sp>  <sp>x", "a<sp>b", "wordword word a-word",
    "Norm norm NORM x", " ..", "n't do not", "the<left>", "  <left>  <right>  ", "\u1e08\u0323\u0301",
]


def texts(family="bert_generation"):
    rng = random.Random(1)
    parts = [text for text in TEXTS if len(text) < 12] + [" ", " ", "the", "river", "bridge", ".", ","]
    if family != "bert_generation":
        pool = TEXTS + MORE_TEXTS
        parts += [text for text in MORE_TEXTS if len(text) < 12]
        return pool + corpus()[:10] + ["".join(rng.choice(parts) for _ in range(rng.randrange(2, 7))) for _ in range(80)]
    return TEXTS + corpus()[:30] + ["".join(rng.choice(parts) for _ in range(rng.randrange(2, 7))) for _ in range(80)]


def joined(numbers, separator=""):
    return separator.join(map(str, numbers))


def encoded(encoding):
    ids = encoding["input_ids"]
    return {"input_ids": joined(ids, " "), "attention_mask": joined(encoding.get("attention_mask", [1] * len(ids))),
            "special_tokens_mask": joined(encoding["special_tokens_mask"]),
            **({"token_type_ids": joined(encoding["token_type_ids"], " ")} if "token_type_ids" in encoding else {})}


def random_options(rng):
    options = {}
    if rng.random() < 0.7:
        options["max_length"] = rng.choice([1, 2, 4, 7, 12, 16])
    if rng.random() < 0.6:
        options["truncation"] = rng.choice(["longest_first", "only_first", "only_second", "do_not_truncate"])
    if rng.random() < 0.5:
        options["padding"] = rng.choice(["longest", "max_length", "do_not_pad"])
    if rng.random() < 0.2:
        options["pad_to_multiple_of"] = rng.choice([1, 4, 8])
    if rng.random() < 0.3:
        options["padding_side"] = rng.choice(["left", "right"])
    return options


def with_options(tokenizer, rng, pool):
    """One call with random options: a text, a pair, or a batch of either."""
    case = {"options": random_options(rng)}
    count = rng.choice([0, 0, 0, 2, 3])
    pick = lambda: rng.choice(pool) if count == 0 else [rng.choice(pool) for _ in range(count)]
    case["text"] = pick()
    case["text_pair"] = pick() if rng.random() < 0.5 else None
    default_side = tokenizer.truncation_side
    if rng.random() < 0.3:
        case["options"]["truncation_side"] = tokenizer.truncation_side = rng.choice(["left", "right"])
    options = {key: value for key, value in case["options"].items() if key != "truncation_side"}
    try:
        result = tokenizer(case["text"], case["text_pair"], return_special_tokens_mask=True, **options)
    except Exception:  # tokenizers raises nothing narrower
        case["error"] = True
    else:
        rows = [result] if count == 0 else [{key: result[key][i] for key in result} for i in range(count)]
        case["expected"] = [encoded(row) for row in rows]
    tokenizer.truncation_side = default_side
    return case


def decode_cases(tokenizer, rng, pool):
    sequences = [tokenizer(text)["input_ids"] for text in rng.sample(pool, 9)]
    sequences += [[rng.randrange(len(tokenizer)) for _ in range(rng.randrange(12))] for _ in range(6)]
    special = tokenizer.all_special_ids
    sequences += [ids + rng.sample(special, min(2, len(special))) for ids in sequences[:4]] + [[-1], [len(tokenizer)]]
    for ids in sequences:
        case = {"ids": ids}
        try:
            # The library refuses ids that tokenizers leaves out.
            if None in tokenizer.convert_ids_to_tokens(ids):
                raise IndexError
            # First with special tokens, then without; in each, clean-up unset, off and on.
            case["texts"] = [tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean)
                             for skip in (False, True) for clean in (None, False, True)]
        except (IndexError, OverflowError):
            case["error"] = True
        yield case


def cases_of(name, tokenizer, pool):
    rng = random.Random(name)
    named = {key: tokenizer.convert_tokens_to_ids(value) for key, value in tokenizer.special_tokens_map.items()}
    limit = tokenizer.model_max_length
    return {
        "size": len(tokenizer), "vocab_size": tokenizer.vocab_size, "special_ids": tokenizer.all_special_ids,
        "named_ids": {key: id for key, id in named.items() if key in tokenizer.__class__.SPECIAL_TOKENS_ATTRIBUTES},
        "added": {str(id): token.content for id, token in tokenizer.added_tokens_decoder.items()},
        "class": type(tokenizer).__name__, "model_max_length": limit if limit < 1e20 else None,
        "input_ids": [joined(tokenizer(text)["input_ids"], " ") for text in pool],
        "calls": [with_options(tokenizer, rng, pool) for _ in range(30)],
        "decodes": list(decode_cases(tokenizer, rng, pool)),
    }


def write(family, result):
    versions = {"transformers": transformers.__version__, "sentencepiece": sentencepiece.__version__,
                "tokenizers": tokenizers.__version__}
    lines = json.dumps({"versions": versions, **result}, ensure_ascii=True, separators=(",", ":"))
    (ROOT / family / "cases.json").write_text(lines.replace('},{', '},\n{') + "\n")


def put(directory, files):
    directory.mkdir(parents=True)
    for file, content in files.items():
        (directory / file).write_text(content if isinstance(content, str) else json.dumps(content))


def write_bert_generation(scratch):
    home = os.getcwd()
    os.chdir(scratch)  # the trainer records the names of its input files
    train_all()
    os.chdir(home)
    result = {"texts": texts(), "directories": {}}
    for name, (model, files) in DIRECTORIES.items():
        directory = pathlib.Path(scratch, name)
        put(directory, files)
        shutil.copy(OUT / model, directory / "spiece.model")
        tokenizer = BertGenerationTokenizer.from_pretrained(directory)
        result["directories"][name] = {"copies": {"spiece.model": model}, "files": files,
                                       **cases_of(name, tokenizer, texts())}
    write("bert_generation", result)


def word_pieces():
    """A vocabulary of words, characters and a few endings."""
    words = collections.Counter(" ".join(corpus()).lower().replace("'", " ' ").split())
    characters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?;:'-#$<>/[]"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(characters)
    tokens += ["##" + c for c in "abcdefghijklmnopqrstuvwxyz0123456789"] + ["##ing", "##er", "##\u00e9", "caf\u00e9", "cafe"]
    tokens += ["The", "THE", "##ver", "\u1112", "##\u1161", "##\u11ab", "\u6f22", "\u8c48", "i\u0307", "\u3042", "##\u302e", "\u2026",
               "\u201c", "n't", "##\u20e3", "\u304b"]
    tokens += [word for word, _ in words.most_common(60) if word.isalpha() and len(word) > 1]
    return list(dict.fromkeys(tokens))


def byte_pairs():
    """Byte-level merges of the commonest pairs, as byte-pair encoding learns them."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    counts = collections.Counter(piece for line in corpus() for piece, _ in splitter.pre_tokenize_str(line))
    words = {tuple(word): count for word, count in counts.items()}
    merges = []
    for _ in range(150):
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {merged(word, best): count for word, count in words.items()}
    return merges


def merged(word, pair):
    result = []
    for piece in word:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return tuple(result)


PLAIN = {**ADDED, "special": False}
# Ids far away: the tokenizers count on from the vocabulary, in this order.
MORE_ADDED = {"900": {**PLAIN, "content": "<left>", "lstrip": True}, "901": {**PLAIN, "content": "<right>", "rstrip": True},
              "905": {**PLAIN, "content": "word", "single_word": True},
              "906": {**PLAIN, "content": "Norm", "normalized": True},
              "910": {**ADDED, "content": "<sp>", "lstrip": True, "rstrip": True}}


def bert_directories():
    vocabulary = {"vocab.txt": "".join(token + "\n" for token in word_pieces())}
    config = lambda **settings: {"tokenizer_config.json": {"tokenizer_class": "BertTokenizer", **settings}}
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 7, "vocab": {token: i for i, token in enumerate(word_pieces())}}
    serialized = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{**ADDED, "id": 1, "content": "[UNK]"}, {**ADDED, "id": 3, "content": "[SEP]"}],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": False,
                       "strip_accents": None, "lowercase": False},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False}, "model": model}
    return {
        "uncased": {**vocabulary, **config()},
        "cased": {**vocabulary, **config(do_lower_case=False, clean_up_tokenization_spaces=True)},
        "accents": {**vocabulary, **config(strip_accents=False, tokenize_chinese_chars=False)},
        "cased without accents": {**vocabulary, **config(do_lower_case=False, strip_accents=True)},
        "added": {**vocabulary, **config(added_tokens_decoder=MORE_ADDED, truncation_side="left")},
        "special": {**vocabulary, **config(bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=12,
                                           padding_side="left", additional_special_tokens=["<e1>", "the"])},
        "split specials": {**vocabulary, **config(split_special_tokens=True, added_tokens_decoder=MORE_ADDED)},
        "version 4": {**vocabulary, **config(do_lower_case=True), "special_tokens_map.json": {
            "mask_token": {"content": "<mask>", "lstrip": True, "normalized": True, "rstrip": False,
                           "single_word": False}, "additional_special_tokens": ["<x>", "<y>"]},
            "added_tokens.json": {"<mask>": 300, "<x>": 299, "[PAD]": 0}},
        "serialized": {"tokenizer.json": serialized, **config()},
        "as serialized": {"tokenizer.json": serialized, "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "pad_token": "[PAD]"}},
        "by file": vocabulary,
    }


def roberta_directories():
    merges = byte_pairs()
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<s>", "<pad>", "</s>", "<unk>"] + characters + [a + b for a, b in merges] + ["<mask>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    lines = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)
    files = {"vocab.json": vocabulary, "merges.txt": lines}
    config = lambda **settings: {"tokenizer_config.json": {"tokenizer_class": "RobertaTokenizer", **settings}}
    few = {token: i for token, i in vocabulary.items() if token not in characters[5:60:9]}
    specials = [{**ADDED, "id": vocabulary[token], "content": token, "normalized": True, "lstrip": token == "<mask>"}
                for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")]
    serialized = lambda merges, **changes: {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": specials, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True,
                           "add_prefix_space": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        "model": {"dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                  "fuse_unk": False, "vocab": vocabulary, "merges": merges}, **changes}
    template = {"type": "TemplateProcessing", "special_tokens": {
        "<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}},
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}]}
    return {
        "roberta": {**files, **config()},
        "prefix space": {**files, **config(add_prefix_space=True, clean_up_tokenization_spaces=True)},
        "added": {**files, **config(added_tokens_decoder=MORE_ADDED, trim_offsets=False)},
        "split specials": {**files, **config(split_special_tokens=True)},
        "missing bytes": {"vocab.json": few, "merges.txt": "".join(
            f"{a} {b}\n" for a, b in merges if {a, b, a + b} <= set(few)), **config()},
        "version 4": {**files, **config(model_max_length=10), "special_tokens_map.json": {
            "mask_token": {"content": "<mask>", "lstrip": True, "normalized": False, "rstrip": False,
                           "single_word": False}}},
        "serialized": {"tokenizer.json": serialized([f"{a} {b}" for a, b in merges]), **config()},
        "as serialized": {"tokenizer.json": serialized([list(pair) for pair in merges], post_processor=template,
                                                       padding={"strategy": "BatchLongest", "direction": "Left",
                                                                "pad_to_multiple_of": None, "pad_id": 1,
                                                                "pad_type_id": 0, "pad_token": "<pad>"}),
                          "tokenizer_config.json": {"tokenizer_class": "TokenizersBackend", "pad_token": "<pad>"}},
        "by file": files,
    }


def write_family(family, directories, scratch):
    pool = texts(family)
    result = {"texts": pool, "directories": {}}
    for name, files in directories.items():
        directory = pathlib.Path(scratch, family, name)
        # transformers does not go by the files alone.
        put(directory, {"config.json": {"model_type": family}, **files})
        tokenizer = AutoTokenizer.from_pretrained(directory)
        result["directories"][name] = {"files": files, **cases_of(name, tokenizer, pool)}
    (ROOT / family).mkdir(exist_ok=True)
    write(family, result)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        write_bert_generation(scratch)
        write_family("bert", bert_directories(), scratch)
        write_family("roberta", roberta_directories(), scratch)


if __name__ == "__main__":
    main()
