#!/usr/bin/env python3
"""Mines pairs for sentence fusion from several versions of Wikipedia's articles.

    tools/mine_splits.py OLD-DIR NEW-DIR [DIR ...] --wikisplit DIR --output mined.tsv

The directories hold what WikiExtractor wrote for dumps of different dates: <doc id="..."> elements, a
paragraph per line. Where editors split a sentence or fused two, one version has a sentence C and another two
neighbouring sentences S1 S2 that say the same. As in WikiSplit (Botha et al. 2018), C has to start with the
first three words of S1, to end with the last three of S2, and to share most of its words with them. All
sentences are compared with all, also across articles, which borrow from each other; there names and numbers
have to agree, too.

Each line of the output is a pair as in WikiSplit, `C <TAB> S1 <::::> S2`, but in prose, the closest first. A
pair that has eight words in a row in common with dev or test is left out.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from wikisplit import DELIMITER, detokenise, load_splits, ngrams, ngrams_of_pairs, split_sentences

ENDS = 3  # C's first words that are those of S1 and its last that are those of S2
FEW = 3  # pairs that one opening of C may give; more are the work of a bot, the same for every town

STARTER = re.compile(  # a word that has a capital only where a sentence starts
    r"(?:The|This|That|These|Those|An?|It|Its|He|His|She|Her|They|Their|In|On|At|After|Before|As|From|There|"
    r"Also|Both|Some|Many|When|While|For|With|By|During|One|Two|If|Most|Other|However|And|But|All|We|You|Since) ")


def documents(folder):
    """(id, paragraphs) of every document in the files of a folder."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, lines = None, []
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            if line.startswith("<doc "):
                name, lines = re.search(r'id="(\d+)', line), []
            elif line.startswith("</doc"):
                if name:
                    yield int(name[1]), lines[1:]  # without the title
            else:
                lines.append(line)


def bare(text):
    """The words of a sentence, as they are compared."""
    return re.findall(r"\w+", text.lower())


def ends(first, last):
    """What C and S1 S2 have in common for certain, or None for what is too short to tell."""
    return hash((*first[:ENDS], *last[-ENDS:])) if min(len(first), len(last)) > ENDS else None


def is_prose(sentence):
    return bool(re.match(r"[\"'(]?[A-Z0-9]", sentence) and re.search(r"[.!?][\"')]*$", sentence)
                and not re.search(r"[{}|\[\]<>=_§]|\.\.\.| [,.]|\(\s*[,;)]|[.\")]:\d", sentence)
                and not re.search(r"(?i)\bno\.$", sentence) and sentence.count('"') % 2 == 0
                and sum(c.isascii() for c in sentence) > 0.93 * len(sentence))


def read_versions(folders):
    """All distinct sentences, the first article that has each, and all distinct neighbours, by number."""
    numbers, texts, homes, neighbours = {}, [], [], set()
    for folder in folders:
        for article, paragraphs in documents(folder):
            for paragraph in paragraphs:
                last = None
                for text in split_sentences(paragraph) if len(paragraph) > 60 else ():
                    if not 15 < len(text) < 420 or not is_prose(text):
                        last = None
                        continue
                    number = numbers.setdefault(text, len(texts))
                    if number == len(texts):
                        texts.append(text)
                        homes.append(article)
                    if last is not None:
                        neighbours.add((last, number))
                    last = number
        print(f"{folder}: {len(texts)} sentences so far, {len(neighbours)} neighbours", flush=True)
    return texts, homes, neighbours


def shared(words, others):
    return (words & others).total() / words.total()


def telling(text):
    """The numbers of a sentence and its names, without its first word, a capital for its place only."""
    return set(re.findall(r"\d+", text)) | set(re.findall(r"\b[A-Z]\w+", text.split(" ", 1)[-1]))


def is_split(one, first, second, same_article):
    """Whether sentence `one` says what `first` and `second` say."""
    c, s1, s2 = (Counter(bare(text)) for text in (one, first, second))
    both = s1 + s2
    if min(shared(s1, c), shared(s2, c)) < 0.5 or min(shared(both, c), shared(c, both)) < 0.65:
        return False
    if same_article:
        return True
    return (min(shared(both, c), shared(c, both)) >= 0.8
            and telling(one) - telling(" " + first) - telling(" " + second) == set()
            and telling(first) | telling(second) <= telling(" " + one))


def is_slip(one, first, second):
    """Whether `one` is no fusion but the two sentences less a full stop, or with one of them in brackets."""
    head = re.sub(r"[.!?]+$", "", first)
    rest = one[len(head):].lstrip(" ,;:.-–—") if one.startswith(head) else ""
    return (second.startswith("(") or bool(rest) and rest[:12] == second[:12]
            and (re.match(r" [A-Z]", one[len(head):]) is not None or STARTER.match(rest) is not None))


def mine(texts, homes, neighbours):
    """All (C, S1, S2), most like each other first."""
    wanted = {}
    for first, second in neighbours:
        key = ends(bare(texts[first])[:ENDS + 1], bare(texts[second])[-ENDS - 1:])
        if key is not None:
            wanted.setdefault(key, []).append((first, second))
    print(f"{len(wanted)} kinds of neighbours", flush=True)
    found = {}
    for number, text in enumerate(texts):
        words = bare(text)
        key = ends(words, words) if 8 <= len(words) <= 70 else None
        for first, second in wanted.get(key, ())[:200]:
            if number in (first, second):
                continue
            same = homes[number] in (homes[first], homes[second])
            if is_split(text, texts[first], texts[second], same):
                c, both = Counter(words), Counter(bare(texts[first]) + bare(texts[second]))
                found[number, first, second] = shared(c, both) + shared(both, c)
    order = sorted(found, key=found.get, reverse=True)
    return [tuple(texts[i] for i in triple) for triple in order]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="WikiExtractor's output, one folder a version")
    parser.add_argument("--wikisplit", type=Path, required=True, help="to leave out what dev and test have")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    _, dev, test = load_splits(args.wikisplit)
    banned = ngrams_of_pairs(dev + test)
    openings, sources, targets, count = Counter(), Counter(), Counter(), 0
    with args.output.open("w", encoding="utf-8") as out:
        for triple in mine(*read_versions(args.folders)):
            one, first, second = map(detokenise, triple)
            opening = " ".join(bare(one)[:6])
            if openings[opening] >= FEW or sources[first, second] or targets[one] >= 2:
                continue
            if is_slip(one, first, second):
                continue
            if len(split_sentences(one)) > 1 or len(split_sentences(f"{first} {second}")) != 2:
                continue
            if ngrams(one, f"{first} {second}") & banned:
                continue
            openings[opening] += 1
            sources[first, second] += 1
            targets[one] += 1
            count += 1
            out.write(f"{one}\t{first} {DELIMITER} {second}\n")
    print(f"{count} pairs")


if __name__ == "__main__":
    main()
