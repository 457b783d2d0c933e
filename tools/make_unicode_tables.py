#!/usr/bin/env python3
"""Writes where the character tables of Hugging Face's tokenizers differ from utf8proc's, and what a test compares.

    src/tokenizers/unicode_differences.hpp    the differences, as ranges of code points
    tests/data/tokenizers/unicode.json        what tokenizers makes of every code point, as ranges

Needs tokenizers and libutf8proc. Run from the root of the repository:

    python3 tools/make_unicode_tables.py
"""

import ctypes
import json
import pathlib

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

utf8proc = ctypes.CDLL("libutf8proc.so.2")
utf8proc.utf8proc_version.restype = utf8proc.utf8proc_unicode_version.restype = ctypes.c_char_p
utf8proc.utf8proc_category_string.restype = ctypes.c_char_p

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
WHITE_SPACE = {9, 10, 11, 12, 13, 0x85}


def bert(**options):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **options}).normalize_str


def pieces(pre_tokenizer, text):
    return len(pre_tokenizer.pre_tokenize_str(text))


def byte_level_class(byte_level, character):
    for name, neighbour in (("letter", "a"), ("number", "1"), ("other", "$")):
        if pieces(byte_level, neighbour + character) == 1:
            return name
    return "space"


def word_characters():
    """What regular expressions call \\w: where a token that must stand alone is not found."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.add_tokens([AddedToken("zz", single_word=True, normalized=False)])
    return {c: True for c in CODE_POINTS if 1 not in tokenizer.encode("zz" + chr(c)).ids}


def combining(nfd, c):
    """The canonical combining class as far as it shows: where a mark goes among marks of known classes."""
    character = chr(c)
    if nfd(character) != character:
        return theirs(c)  # never looked at
    smaller = [k for k, mark in KNOWN_MARKS.items() if nfd(character + mark) != character + mark]
    larger = [k for k, mark in KNOWN_MARKS.items() if nfd(mark + character) != mark + character]
    if not smaller and not larger:
        return 0
    return theirs(c) if max(smaller, default=0) < theirs(c) < min(larger, default=999) else -1


KNOWN_MARKS = {1: "\u0334", 7: "\u093c", 9: "\u094d", 202: "\u0327", 220: "\u0316", 224: "\u302e", 230: "\u0300",
               240: "\u0345"}


class Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


utf8proc.utf8proc_get_property.restype = ctypes.POINTER(Property)


def theirs(c):
    return utf8proc.utf8proc_get_property(c).contents.combining_class


def category(c):
    return utf8proc.utf8proc_category_string(c).decode()


def measure():
    """tokenizers' answers: a dictionary of property -> {code point: value}, with only what is not the common case."""
    clean, lower, chinese = bert(clean_text=True), bert(lowercase=True), bert(handle_chinese_chars=True)
    accents, nfd = bert(strip_accents=True), normalizers.NFD().normalize_str
    words, byte_level = pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False)
    result = {name: {} for name in ("dropped", "space", "chinese", "mark", "punctuation", "class", "lower",
                                    "decomposition", "combining")}
    for c in CODE_POINTS:
        character = chr(c)
        cleaned = clean(f"a{character}a")
        if cleaned == "aa":
            result["dropped"][c] = True
        if c == 0x20 or cleaned == "a a":
            result["space"][c] = True
        if chinese(character) != character:
            result["chinese"][c] = True
        if accents(character) == "":
            result["mark"][c] = True
        if pieces(words, f"a{character}a") == 3:
            result["punctuation"][c] = True
        kind = byte_level_class(byte_level, character)
        if kind != "other":
            result["class"][c] = kind
        if lower(character) != character:
            result["lower"][c] = lower(character)
        if nfd(character) != character:
            result["decomposition"][c] = nfd(character)
        klass = combining(nfd, c)
        if klass != 0:
            result["combining"][c] = klass
    result["word"] = word_characters()
    return result


def ranges(code_points):
    """Sorted code points as [first, last] pairs."""
    result = []
    for c in sorted(code_points):
        if result and result[-1][1] == c - 1:
            result[-1][1] = c
        else:
            result.append([c, c])
    return result


def differing(measured, expected):
    return [c for c in CODE_POINTS if measured(c) != expected(c)]


def lower_ranges(lower):
    """Runs of characters whose lower-case letter is the same distance away, alternating letters apart."""
    rows = []
    for c in differing(lambda c: lower.get(c, chr(c)), lambda c: chr(utf8proc.utf8proc_tolower(c))):
        target = lower.get(c, chr(c))
        if len(target) != 1:
            continue  # U+0130 alone, which the code treats by name
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == ord(target) - c:
            rows[-1][1] = c
        else:
            rows.append([c, c, ord(target) - c])
    return rows


def write_header(measured):
    is_punctuation = lambda c: category(c)[0] == "P" or (c < 128 and chr(c) in "$+<=>^`|~")
    kind = lambda c: {"L": "letter", "N": "number", "Z": "space"}.get(
        category(c)[0], "space" if c in WHITE_SPACE else "other")
    dropped = lambda c: (category(c) in ("Cc", "Cf", "Co") and c not in (9, 10, 13)) or c == 0xFFFD
    tables = {
        "kept_controls": ("Controls that clean_text keeps.", differing(
            lambda c: c in measured["dropped"], dropped)),
        "mark_differences": ("Nonspacing marks to one and not to the other.", differing(
            lambda c: c in measured["mark"], lambda c: category(c) == "Mn")),
        "not_combining": ("Marks that normalisation does not reorder.", differing(
            lambda c: measured["combining"].get(c, 0), theirs)),
        "punctuation_differences": ("Punctuation to one and not to the other.", differing(
            lambda c: c in measured["punctuation"], is_punctuation)),
        "word_differences": ("Word characters to one and not to the other by its category.", differing(
            lambda c: c in measured["word"],
            lambda c: category(c)[0] in "LM" or category(c) in ("Nd", "Nl", "Pc"))),
        "more_letters": ("Letters that utf8proc does not know.", differing(
            lambda c: measured["class"].get(c) == "letter", lambda c: kind(c) == "letter")),
        "more_numbers": ("Numbers that utf8proc does not know.", differing(
            lambda c: measured["class"].get(c) == "number", lambda c: kind(c) == "number")),
    }
    lines = [f"""// Where tokenizers {tokenizers.__version__} has other character tables than utf8proc \
{utf8proc.utf8proc_version().decode()} (Unicode {utf8proc.utf8proc_unicode_version().decode()}): it takes categories from
// Unicode 8, normalisation from Unicode 9, regular expressions from Unicode 16 and lower case from Unicode 17.
// Written by tools/make_unicode_tables.py.
#pragma once

#include "tokenizers/unicode.hpp"

namespace bertgen::detail {{
"""]
    for name, (comment, code_points) in tables.items():
        rows = ", ".join(f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(code_points))
        lines.append(f"// {comment}\ninline constexpr CodePointRange {name}[] = {{{rows}}};\n")
    rows = ", ".join(f"{{{{0x{a:X}, 0x{b:X}}}, {d}}}" for a, b, d in lower_ranges(measured["lower"]))
    lines.append("// Letters whose lower case utf8proc does not know, and the distance to it.\n"
                 "inline constexpr struct {\n  CodePointRange range;\n  std::int32_t distance;\n"
                 f"}} more_lower_case[] = {{{rows}}};\n")
    lines.append("}  // namespace bertgen::detail\n")
    pathlib.Path("src/tokenizers/unicode_differences.hpp").write_text("\n".join(lines))

    decomposition = differing(lambda c: c in measured["decomposition"], lambda c: decomposes(c))
    assert decomposition == [0x11938], [hex(c) for c in decomposition]
    assert -1 not in measured["combining"].values()


def decomposes(c):
    buffer, boundary = (ctypes.c_int32 * 32)(), ctypes.c_int(0)
    decompose = 1 << 4
    count = utf8proc.utf8proc_decompose_char(c, buffer, 32, decompose, ctypes.byref(boundary))
    return count != 1 or buffer[0] != c


def checksum(text):
    """FNV-1a over code points; enough to compare long lists of mappings."""
    value = 2166136261
    for c in text:
        value = ((value ^ c) * 16777619) & 0xFFFFFFFF
    return value


def write_fixture(measured):
    result = {"versions": {"tokenizers": tokenizers.__version__}}
    for name in ("dropped", "space", "chinese", "mark", "punctuation", "word"):
        result[name] = ranges(measured[name])
    for kind in ("letter", "number", "space"):
        result["class " + kind] = ranges(c for c, value in measured["class"].items() if value == kind)
    for name in ("lower", "decomposition"):
        code_points = [x for c in sorted(measured[name]) for x in (c, *map(ord, measured[name][c]))]
        result[name] = {"count": len(measured[name]), "checksum": checksum(code_points)}
    result["combining"] = {"count": len(measured["combining"]),
                           "checksum": checksum(x for item in sorted(measured["combining"].items()) for x in item)}
    text = json.dumps(result, separators=(",", ":")).replace('],"', '],\n"').replace('},"', '},\n"')
    pathlib.Path("tests/data/tokenizers/unicode.json").write_text(text + "\n")


def main():
    measured = measure()
    write_header(measured)
    write_fixture(measured)


if __name__ == "__main__":
    main()
