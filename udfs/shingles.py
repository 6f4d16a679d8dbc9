"""Shingles: the overlapping n-grams of many texts as sets of 64-bit hashes, and the true Jaccard of pairs of them.

Many texts are hashed in one pass over one array of code points. Hashes are arithmetic on code points, so every machine,
process and Python gives the same ones.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.characters import LETTER, MARK, UNSPACED, Characters, Hashes, Ints, Mask, chunks, scramble, span_hashes

NGRAM_WORDS, NGRAM_CHARS = 3, 5
_UNSPACED_SHARE = 0.3
# Hashes of the pairs that are compared at a time: 32 MiB.
_PAIR_BLOCK = 1 << 22
# Arrays of this many characters stay in a core's cache: four times the speed of half a million.
_CHUNK = 1 << 16
# Soft hyphens, zero-width signs, marks of direction: a copy of a page has them or not.
_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_ASCII = scramble(np.arange(128, dtype=np.uint64))


@dataclass(frozen=True, eq=False)
class ShingleSets:
    """The shingles of n texts, set after set in `values` (uint64); set i has `sizes[i]` (n,) of them, sorted, each once."""

    values: Hashes
    sizes: Ints

    @classmethod
    def of(cls, texts: Sequence[str], words: int = NGRAM_WORDS, chars: int = NGRAM_CHARS) -> ShingleSets:
        """Hashes each text's n-grams: of words, or of characters in Chinese, Japanese, Thai and the like.

        Characters are taken where over 30 % of the letters belong to scripts without spaces. The text is normalised
        first (NFKC, lower case, runs of white space as one space, no signs that are not seen). A text shorter than one
        n-gram is one shingle; a text of white space has none. A set depends on its text alone.
        """
        return cls.joined(
            [_chunk_sets([_normal(text) for text in chunk], words, chars) for chunk in chunks(texts, _CHUNK)]
        )

    @classmethod
    def joined(cls, parts: Sequence[ShingleSets]) -> ShingleSets:
        """Puts sets one after the other."""
        values = np.concatenate([np.empty(0, np.uint64), *[part.values for part in parts]])
        return cls(values, np.concatenate([np.empty(0, np.int64), *[part.sizes for part in parts]]))

    @classmethod
    def from_binary(cls, column: Sequence[bytes]) -> ShingleSets:
        """Unpacks what `to_binary` made."""
        sizes = np.fromiter(map(len, column), dtype=np.int64, count=len(column)) // 8
        return cls(np.frombuffer(b"".join(column), dtype="<u8").astype(np.uint64, copy=False), sizes)

    def to_binary(self) -> list[bytes]:
        """Packs each set for a binary Arrow column, little-endian, 8 bytes a shingle."""
        packed, ends = self.values.astype("<u8", copy=False).tobytes(), np.cumsum(self.sizes) * 8
        return [packed[begin:end] for begin, end in zip((ends - self.sizes * 8).tolist(), ends.tolist(), strict=True)]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Hashes:
        end = int(self.sizes[: index + 1].sum())
        return self.values[end - int(self.sizes[index]) : end]

    @property
    def starts(self) -> Ints:
        """Where each set begins in `values`: (n,)."""
        return np.cumsum(self.sizes) - self.sizes

    def digests(self) -> list[str | None]:
        """128 bits of each set as 32 hex digits, equal for equal sets (Jaccard 1); None for an empty set, which equals no other."""
        return [hashlib.blake2b(one, digest_size=16).hexdigest() if one else None for one in self.to_binary()]


def shingles(text: str, words: int = NGRAM_WORDS, chars: int = NGRAM_CHARS) -> Hashes:
    """Returns the shingles of one text (see `ShingleSets.of`), for looking at it: many texts at once are much faster."""
    return ShingleSets.of([text], words, chars).values


def jaccard(a: Hashes, b: Hashes) -> float:
    """Computes |a and b| / |a or b| of two sorted sets. 0 where either is empty: an empty text is nobody's duplicate."""
    common = np.intersect1d(a, b, assume_unique=True).size
    return float(common / (a.size + b.size - common)) if common else 0.0


def jaccard_pairs(sets: ShingleSets, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[np.float64]:
    """Computes `jaccard` of many pairs at once: of sets i[p] and j[p] for each p.

    Shapes (p,) and (p,); returns shape (p,).
    """
    common = np.zeros(len(i), dtype=np.int64)
    both = sets.sizes[i] + sets.sizes[j]
    for block in _blocks(both, _PAIR_BLOCK):
        common[block] = _common(sets, i[block], j[block])
    return np.asarray(common / np.maximum(both - common, 1))


def _common(sets: ShingleSets, i: NDArray[np.integer], j: NDArray[np.integer]) -> Ints:
    """How many shingles the sets of each pair share: those that stand twice when both are sorted together."""
    rows, starts = np.stack([i, j], axis=1).ravel(), sets.starts
    values = sets.values[_runs(starts[rows], sets.sizes[rows])]
    sizes = sets.sizes[i] + sets.sizes[j]
    _sort_each(values, sizes)
    return np.asarray(sizes - _distinct(values, sizes)[1])


def _normal(text: str) -> str:
    folded = text if text.isascii() else _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    return " ".join(folded.lower().split())


def _chunk_sets(normals: Sequence[str], words: int, chars: int) -> ShingleSets:
    unspaced = _unspaced(normals)
    if not unspaced.any():
        return _sets(*_words(normals), words)
    both = [np.flatnonzero(~unspaced), np.flatnonzero(unspaced)]
    spaced, single = ([normals[row] for row in rows.tolist()] for rows in both)
    mixed = ShingleSets.joined([_sets(*_words(spaced), words), _sets(*_characters(single), chars)])
    back = np.argsort(np.concatenate(both))
    return ShingleSets(mixed.values[_runs(mixed.starts[back], mixed.sizes[back])], mixed.sizes[back])


def _unspaced(normals: Sequence[str]) -> Mask:
    found = np.zeros(len(normals), dtype=np.bool_)
    rows = [row for row, text in enumerate(normals) if not text.isascii()]
    if rows:
        characters = Characters.of([normals[row] for row in rows])
        letters = characters.count(characters.has(LETTER | MARK))
        found[rows] = characters.count(characters.has(UNSPACED)) > _UNSPACED_SHARE * letters
    return found


def _words(normals: Sequence[str]) -> tuple[Hashes, Ints]:
    """A hash of each word of all texts, and how many words each text has. No normal text has a line end."""
    if not normals:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    joined = "\n".join(normals)
    codes: NDArray[np.unsignedinteger]
    if joined.isascii():
        codes = np.frombuffer(joined.encode(), dtype=np.uint8)
        letters = _ASCII[codes]
    else:
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        letters = scramble(codes)
    between = np.flatnonzero((codes == ord(" ")) | (codes == ord("\n")))
    begins, ends = np.append(0, between + 1), np.append(between, codes.size)
    owner = np.append(0, np.cumsum(codes[between] == ord("\n")))
    filled = ends > begins
    counts = np.bincount(owner[filled], minlength=len(normals))
    return span_hashes(letters, begins[filled], ends[filled]), counts


def _characters(normals: Sequence[str]) -> tuple[Hashes, Ints]:
    """The code points of all texts without spaces, and how many each text has."""
    bare = [text.replace(" ", "") for text in normals]
    codes = np.frombuffer("".join(bare).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return codes.astype(np.uint64), np.fromiter(map(len, bare), dtype=np.int64, count=len(bare))


def _sets(units: Hashes, counts: Ints, n: int) -> ShingleSets:
    grams = np.where(counts >= n, counts - n + 1, np.minimum(counts, 1))
    starts = np.cumsum(counts) - counts
    begins = _runs(starts, grams)
    values = span_hashes(scramble(units), begins, np.minimum(begins + n, np.repeat(starts + counts, grams)))
    _sort_each(values, grams)
    return ShingleSets(*_distinct(values, grams))


def _sort_each(values: Hashes, sizes: Ints) -> None:
    """Sorts each of the runs that lie one after the other, in place: numpy sorts a short run much faster than one long array by two keys."""
    ends = np.cumsum(sizes)
    for begin, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True):
        values[begin:end].sort()


def _distinct(values: Hashes, sizes: Ints) -> tuple[Hashes, Ints]:
    """The values of sorted runs, each once in its run, and how many each run has then."""
    first = np.ones(len(values) + 1, dtype=np.bool_)
    first[1:-1] = values[1:] != values[:-1]
    ends = np.cumsum(sizes)
    first[ends - sizes] = True
    passed = np.concatenate(([0], np.cumsum(first[:-1])))
    return values[first[:-1]], passed[ends] - passed[ends - sizes]


def _runs(starts: Ints, sizes: Ints) -> Ints:
    """The positions starts[r], starts[r] + 1, ... of each run r, one run after the other."""
    ends = np.cumsum(sizes)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)


def _blocks(weights: Ints, limit: int) -> list[Ints]:
    """Cuts positions 0..n-1 into runs whose weights add up to about `limit`, or more where one item is heavier."""
    cuts = np.flatnonzero(np.diff(np.cumsum(weights) // limit)) + 1
    return np.split(np.arange(weights.size), cuts) if weights.size else []
