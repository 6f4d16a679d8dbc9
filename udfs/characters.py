"""Many texts as one numpy array of code points with a class each: the ground under words, n-grams, rules and counts.

Scripts that put no space between words (Chinese, Japanese, Thai, ...) are called unspaced here. A unit is a word of a
spaced script (digits and inner apostrophes belong to it) or one character of an unspaced script with its marks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]

LETTER, MARK, DIGIT, UNSPACED, PROSE, SPACE, BROKEN = (1 << bit for bit in range(7))
WORD = LETTER | MARK | DIGIT

UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # Han radicals
    (0x3005, 0x3007),  # Han iteration mark, closing mark and zero
    (0x3021, 0x312F),  # Han numerals, kana, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width kana
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)
PROSE_PUNCTUATION = ".,;:!?'\"()-/%‐‑–—‘’“”…·、。〈〉《》「」『』【】〔〕！（），．：；？％～"
_HASH_BASE = 0x9E3779B97F4A7C15


@cache
def class_table() -> NDArray[np.uint8]:
    """One byte of class bits for each of the 1,114,112 code points.

    Made from Python's own Unicode tables; planes 2 and 3 are Han by allocation, planes 15 and 16 are private use.
    """
    table = np.zeros(0x110000, dtype=np.uint8)
    table[:0x20000] = [_class_of(chr(code)) for code in range(0x20000)]
    table[0x20000:0x40000] = LETTER
    table[0xF0000:] = BROKEN
    for first, last in UNSPACED_RANGES:
        block = table[first : last + 1]
        block[block & (LETTER | MARK) > 0] |= UNSPACED
    for sign in PROSE_PUNCTUATION:
        table[ord(sign)] |= PROSE
    return table


def _class_of(char: str) -> int:
    category = unicodedata.category(char)
    if char.isspace():
        return SPACE
    if category in ("Cc", "Co", "Cs") or char == "\N{REPLACEMENT CHARACTER}":
        return BROKEN
    is_mark = category[0] == "M" and not "\ufe00" <= char <= "\ufe0f"  # variation selectors follow emoji, not letters
    return LETTER * (category[0] == "L") | MARK * is_mark | DIGIT * (category[0] == "N")


@dataclass(frozen=True)
class Characters:
    """The code points of n texts, one after the other with a line end between them.

    `codes` uint32 (c,), `classes` uint8 (c,) are per character; text i is `codes[begins[i]:ends[i]]`.
    """

    codes: NDArray[np.uint32]
    classes: NDArray[np.uint8]
    begins: Ints
    ends: Ints

    @classmethod
    def of(cls, texts: Sequence[str]) -> Characters:
        """Reads the texts; lone surrogates are kept and count as broken characters."""
        codes = np.frombuffer("\n".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        ends = np.cumsum(lengths + 1) - 1
        return cls(codes, class_table()[codes], ends - lengths, ends)

    def has(self, bits: int) -> Mask:
        """Which characters (c,) have any of these class bits."""
        chosen: Mask = (self.classes & bits) > 0
        return chosen

    def count(self, chosen: Mask) -> Ints:
        """How many of the chosen characters (c,) each text has: (n,)."""
        return between(chosen, self.begins, self.ends)

    def owners(self, positions: Ints) -> Ints:
        """The index of the text that each character position lies in."""
        return np.searchsorted(self.begins, positions, side="right").astype(np.int64) - 1

    def units(self) -> tuple[Ints, Ints]:
        """Begin and end (exclusive) of every unit in all texts, in order. No unit crosses texts."""
        inside = self.has(WORD) | self._inner_apostrophes()
        single = self.has(UNSPACED)
        before = np.concatenate(([False], inside))[:-1]
        single_before = np.concatenate(([False], single))[:-1]
        starts = inside & (~before | ((single | single_before) & ~self.has(MARK)))
        stops = inside & ~np.concatenate((inside & ~starts, [False]))[1:]
        return np.flatnonzero(starts), np.flatnonzero(stops) + 1

    def _inner_apostrophes(self) -> Mask:
        found: Mask = (self.codes == ord("'")) | (self.codes == ord("\N{RIGHT SINGLE QUOTATION MARK}"))
        spaced_letter = self.has(LETTER) & ~self.has(UNSPACED)
        found[:1] = found[-1:] = False
        found[1:-1] &= spaced_letter[:-2] & spaced_letter[2:]
        return found


def chunks(texts: Sequence[str], max_chars: int = 1 << 19) -> Iterator[Sequence[str]]:
    """Cuts the list into runs of about `max_chars` characters, so that the arrays of one run stay near the cache."""
    begin = size = 0
    for index, text in enumerate(texts):
        if size and size + len(text) > max_chars:
            yield texts[begin:index]
            begin, size = index, 0
        size += len(text) + 1
    if begin < len(texts):
        yield texts[begin:]


def between(values: Mask | Ints, begins: Ints, ends: Ints) -> Ints:
    """The sum of `values` over each span [begin, end)."""
    total = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
    return total[ends] - total[begins]


def share(part: Ints | Floats, whole: Ints | Floats) -> Floats:
    """part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole), dtype=np.float64), where=np.asarray(whole) > 0)


def scramble(values: NDArray[np.unsignedinteger]) -> Hashes:
    """The splitmix64 finaliser: 64-bit integers to well-spread 64-bit integers, one to one."""
    mixed = values.astype(np.uint64) + np.uint64(_HASH_BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def span_hashes(values: Hashes, begins: Ints, ends: Ints) -> Hashes:
    """A 64-bit hash of the values of each span [begin, end), equal for equal contents wherever the span lies.

    The polynomial sum(values[begin + i] * base^i) modulo 2^64, taken from one running sum, so that the cost does not
    grow with the spans' lengths. Integer arithmetic only: the same on every machine.
    """
    powers, inverses = _powers(1 << max(10, len(values).bit_length()))
    total = np.concatenate((np.zeros(1, np.uint64), np.cumsum(values * powers[: len(values)], dtype=np.uint64)))
    return scramble((total[ends] - total[begins]) * inverses[begins])


@cache
def _powers(length: int) -> tuple[Hashes, Hashes]:
    """base^i and base^-i modulo 2^64 for i < length (a power of two, so that few sizes are ever made)."""
    bases = (_HASH_BASE, pow(_HASH_BASE, -1, 1 << 64))
    rising, falling = (np.full(length, base, dtype=np.uint64) for base in bases)
    rising[0] = falling[0] = 1
    return np.cumprod(rising, dtype=np.uint64), np.cumprod(falling, dtype=np.uint64)
