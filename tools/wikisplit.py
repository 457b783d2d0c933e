"""WikiSplit as sentence-fusion data: ordinary prose, a fixed split, and the measures.

WikiSplit (https://github.com/google-research-datasets/wiki-split, CC BY-SA 4.0) holds rows of
`unsplit sentence <TAB> first sentence <::::> second sentence`, tokenised in the Penn Treebank way. Read
backwards it teaches fusion: two sentences in, one sentence out. Both sides are turned into ordinary prose
here, so that a model trained on them works on text as people type it.
"""

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

DELIMITER = "<::::>"


class Pair(NamedTuple):
    """One example of fusion: `source` is two sentences, `target` the sentence that says the same."""

    source: str
    target: str
    parts: tuple  # the two sentences of the source, each by itself


# --- Prose -----------------------------------------------------------------------------------------------

_CLOSE_UP = [
    (re.compile(r" - "), "-"),  # WikiSplit writes every hyphen between spaces, and dashes as --
    (re.compile(r" -- "), " – "),
    (re.compile(r" / "), "/"),
    (re.compile(r" ([,;:!?%)\]}.])"), r"\1"),
    (re.compile(r"([(\[{$£€#]) "), r"\1"),
    (re.compile(r" (n't|'s|'S|'re|'ve|'ll|'d|'m)\b"), r"\1"),
    (re.compile(r"(\w)\.([A-Z][a-z])"), r"\1. \2"),  # "Naples.These": the space was lost in WikiSplit
    (re.compile(r" {2,}"), " "),
]


def _close_quotes(text, mark):
    """Attaches each free-standing `mark` to the word it opens or closes."""
    out, is_open = [], False
    tokens = text.split(" ")
    for i, token in enumerate(tokens):
        if token != mark:
            out.append(token)
            continue
        later = mark in tokens[i + 1:]
        possessive = mark == "'" and not is_open and out and out[-1][-1:] in "sz" and out[-1][-1:]
        if is_open or possessive or (not later and out):
            out[-1:] = [(out[-1] if out else "") + mark]
            is_open = False
        else:
            out.append("\0" + mark)
            is_open = True
    text = " ".join(out)
    return re.sub("\0" + mark + " ?", mark, text)


def detokenise(text):
    """Treebank tokens to ordinary prose: `He said , '' No ! ''` becomes `He said, "No!"`."""
    text = unicodedata.normalize("NFKC", text).strip()
    text = re.sub(r"``|''", '"', text)
    text = re.sub(r'(?<! )"|"(?! )', lambda m: f' {m[0]} ', f" {text} ").strip()
    text = re.sub(r" {2,}", " ", text)
    text = _close_quotes(text, '"')
    text = _close_quotes(text, "'")
    for pattern, replacement in _CLOSE_UP:
        text = pattern.sub(replacement, text)
    return text.strip()


# --- Rows and their split --------------------------------------------------------------------------------

def read_pairs(path):
    """All rows of one WikiSplit file as fusion pairs, in the file's order."""
    pairs = []
    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        if not line.strip():
            continue
        target, source = line.split("\t")
        parts = tuple(detokenise(part) for part in source.split(DELIMITER))
        pairs.append(Pair(" ".join(parts), detokenise(target), parts))
    return pairs


def _sentences(pair):
    """What must not be shared between parts of the data: every sentence of a pair, as bare words."""
    return {" ".join(re.findall(r"\w+", text.lower())) for text in (pair.target, pair.source, *pair.parts)}


def load_splits(folder):
    """Returns (train, dev, test) from tune.tsv and validation.tsv.

    The files are sorted by sentence, so the parts are interleaved: of validation.tsv, row i (from 0) belongs
    to test where i % 5 == 0 (1,000 rows) and to dev where i % 10 == 1 (500 rows); everything else is for
    training. Then every dev row that has a sentence in common with test is dropped, and every training row
    that has one in common with dev or test.
    """
    validation = read_pairs(Path(folder) / "validation.tsv")
    test = [pair for i, pair in enumerate(validation) if i % 5 == 0]
    dev = [pair for i, pair in enumerate(validation) if i % 10 == 1]
    train = [pair for i, pair in enumerate(validation) if i % 5 and i % 10 != 1]
    train += read_pairs(Path(folder) / "tune.tsv")
    seen = set().union(*map(_sentences, test))
    dev = [pair for pair in dev if not _sentences(pair) & seen]
    seen = seen.union(*map(_sentences, dev))
    train = [pair for pair in train if not _sentences(pair) & seen]
    return train, dev, test


def read_more(path, held_out):
    """The rows of a further file in WikiSplit's form, without those that repeat a part of `held_out`.

    Such a row may be of another date, so eight words in a row in common are enough to drop it.
    """
    seen = set().union(*map(_sentences, held_out))
    banned = ngrams_of_pairs(held_out)
    return [pair for pair in read_pairs(path) if not _sentences(pair) & seen
            and not ngrams(pair.source, pair.target) & banned]


# --- Measures --------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\w+(?:['’.,]\w+)*|[^\w\s]")
_BREAK = re.compile(r"[.!?][\"'”’)\]]* +(?=[\"'“‘(\[]*[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Za-z]|Mrs?|Ms|Dr|Prof|St|Mt|Ft|Jr|Sr|Lt|Col|Gen|Capt|Sgt|Maj|Rev|Hon|Gov|Sen|Rep|Pres|"
    r"Nos?|Vol|vs?|ca?|cf|al|etc|Inc|Co|Corp|Ltd|Bros|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|[ap]\.m|"
    r"(?:[A-Za-z]\.)+[A-Za-z]))\.$")


def words(text):
    """Lower-cased tokens of the measures: words (with inner apostrophes, points, commas) and single marks."""
    return _TOKEN.findall(text.lower())


def split_sentences(text):
    """The sentences of ordinary prose; a point after an initial or a known abbreviation ends none."""
    sentences, start = [], 0
    for found in _BREAK.finditer(text):
        if text[found.start()] == "." and _ABBREVIATION.search(text, start, found.start() + 1):
            continue
        sentences.append(text[start:found.end()].strip())
        start = found.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _f1(hits, selected, relevant):
    """F1 of n-gram counts; an empty denominator counts as 1, so doing nothing rightly is perfect."""
    precision = hits / selected if selected else 1.0
    recall = hits / relevant if relevant else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def sari(source, output, target):
    """SARI of one output in percent: the mean F1 of kept, added and deleted n-grams, n from 1 to 4.

    As for sentence fusion elsewhere, deletion is scored by F1 too, not by precision alone.
    """
    source, output, target = words(source), words(output), words(target)
    total = 0.0
    for n in range(1, 5):
        s, o, t = (Counter(zip(*(tokens[i:] for i in range(n)))) for tokens in (source, output, target))
        for ours, theirs in ((s & o, s & t), (o - s, t - s), (s - o, s - t)):
            total += _f1((ours & theirs).total(), ours.total(), theirs.total())
    return 100 * total / 12


def words_kept(source, output):
    """The share, in percent, of the source's words (marks aside) that the output has too."""
    source, output = (Counter(w for w in words(text) if w[0].isalnum()) for text in (source, output))
    return 100 * (source & output).total() / max(1, source.total())


NGRAM = 8  # a text that shares this many words in a row with dev or test is kept out of training


def ngrams(*texts):
    """All runs of NGRAM words of the texts."""
    found = set()
    for text in texts:
        tokens = [word for word in words(text) if word[0].isalnum()]
        found.update(zip(*(tokens[i:] for i in range(NGRAM))))
    return found


def ngrams_of_pairs(pairs):
    """Those of both sides of all pairs."""
    return ngrams(*(text for pair in pairs for text in (pair.source, pair.target)))


def measure(pairs, outputs):
    """The table's figures for `outputs`, one per pair, all in percent."""
    assert len(pairs) == len(outputs), f"{len(outputs)} outputs for {len(pairs)} pairs"

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    outputs = [" ".join(unicodedata.normalize("NFKC", output).split()) for output in outputs]
    return {
        "exact": mean(100 * (output == pair.target) for pair, output in zip(pairs, outputs)),
        "sari": mean(sari(pair.source, output, pair.target) for pair, output in zip(pairs, outputs)),
        "kept": mean(words_kept(pair.source, output) for pair, output in zip(pairs, outputs)),
        "single": mean(100 * (len(split_sentences(output)) == 1) for output in outputs),
    }


# --- Trivial baselines -----------------------------------------------------------------------------------

def copy_input(pair):
    """The first baseline: says the two sentences again."""
    return pair.source


def join_with_and(pair):
    """The second baseline: `A. B.` becomes `A, and b.`; B keeps its capital unless its first word is a
    common one that is a capital for its place only."""
    first, second = pair.parts[0], pair.parts[-1]
    if re.match(r"(?:The|This|That|These|Those|An?|It|Its|He|His|She|Her|They|Their|In|On|At|After|Before|As|"
                r"From|There|However|Also|Both|Some|Many|When|While|For|With|By|During|One|Two) ", second):
        second = second[0].lower() + second[1:]
    return f"{re.sub(r'[.!?;,]+$', '', first)}, and {second}"
