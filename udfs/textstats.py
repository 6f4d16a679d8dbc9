"""Diversity of texts by their words and bytes: distinct-n, self-repetition and compression ratio.

An n-gram runs over the words of `udfs.characters`: in scripts written without spaces, such as Chinese, each character
is one. Case and punctuation do not count. Words and n-grams are 64-bit hashes, the same in every process; 10^9 distinct
n-grams have 0.03 collisions on average.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from udfs.characters import Characters, Hashes, Ints, scramble, span_hashes

ZLIB_LEVEL = 9
"""DEFLATE level of `compression_ratio`: the strongest, and what gzip uses for such ratios."""

_BLOCK_CHARACTERS = 1 << 21
"""Characters taken at a time, which bounds memory at some 100 bytes each."""

_HEADER = struct.Struct("<4siq")
_MAGIC = b"ngr1"


@dataclass(frozen=True, eq=False)
class NgramCounts:
    """What distinct-n needs of some texts: how many n-grams (`total`), and which (`hashes`, uint64, sorted, unique).

    Takes 8 bytes a distinct n-gram.
    """

    n: int
    total: int
    hashes: Hashes

    def add(self, other: NgramCounts) -> NgramCounts:
        """Counts of the texts of both, which may share n-grams."""
        if other.n != self.n:
            raise ValueError(f"counts of {self.n}-grams and of {other.n}-grams do not add")
        return NgramCounts(self.n, self.total + other.total, np.union1d(self.hashes, other.hashes))

    def distinct(self) -> float:
        """Distinct n-grams over all n-grams, from 0 to 1; `ValueError` where no text is n words long."""
        if self.total == 0:
            raise ValueError(f"distinct-{self.n} is undefined: no text has {self.n} words")
        return len(self.hashes) / self.total

    def to_row(self) -> bytes:
        """Pack for a binary Arrow column, little-endian."""
        return _HEADER.pack(_MAGIC, self.n, self.total) + self.hashes.astype("<u8").tobytes()

    @classmethod
    def from_row(cls, row: bytes) -> NgramCounts:
        """Unpack what `to_row` made."""
        if len(row) < _HEADER.size or row[:4] != _MAGIC or (len(row) - _HEADER.size) % 8:
            raise ValueError("these bytes are not packed n-gram counts: expected a value made by NgramCounts.to_row")
        _, n, total = _HEADER.unpack_from(row)
        return cls(n, total, np.frombuffer(row, dtype="<u8", offset=_HEADER.size).astype(np.uint64))


def ngram_counts_state(texts: Sequence[str], n: int) -> NgramCounts:
    """State of one partition for distinct-n: add the states of all partitions, then ask `distinct()`."""
    hashes, _ = _ngrams(texts, n)
    return NgramCounts(n, len(hashes), np.unique(hashes))


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams over all n-grams of all texts together, from 0 to 1; it falls as the texts grow in number.

    Source: Li et al. 2016. `ValueError` where no text is n words long.
    """
    return ngram_counts_state(texts, n).distinct()


def self_repetition(texts: Sequence[str], n: int = 4) -> float:
    """Mean over texts of log(sum over the text's distinct n-grams of (1 + number of other texts that hold it)).

    Higher is more repetitive. Without any repetition it is the mean log number of n-grams, so compare texts of like
    length. Texts shorter than n words are left out; `ValueError` if all are. Source: Salkar et al. 2022, as in Shaib et
    al. 2024.
    """
    hashes, owner = _ngrams(texts, n)
    if len(hashes) == 0:
        raise ValueError(f"self-repetition is undefined: no text has {n} words")
    _, gram = np.unique(hashes, return_inverse=True)
    grams = int(gram.max()) + 1
    held = np.unique(owner * grams + gram)
    texts_with = np.bincount(held % grams, minlength=grams)
    sums = np.bincount(held // grams, weights=texts_with[held % grams])
    return float(np.mean(np.log(sums[sums > 0])))


def compression_ratio(texts: Sequence[str], shard_bytes: int = 1 << 18, seed: int = 0) -> float:
    """Bytes over compressed bytes (zlib level 9), the mean over shards of `shard_bytes`; higher is more redundant.

    Texts are put in order of a seeded hash of the text, so that the order they came in has no part in it, joined by
    line ends and cut into shards of equal size, since a longer input compresses better by itself. The shorter rest is
    left out, unless it is all there is. Equal texts end up side by side, so exact copies count in full. DEFLATE looks
    back 32 KiB: other repetition that is farther apart goes unseen. `ValueError` where all texts are empty.
    """
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes must be at least 1, got {shard_bytes}")
    strings = np.array(texts, dtype=object)
    keys = pd.util.hash_array(strings, hash_key=f"{seed:016d}")
    data = "\n".join(strings[np.argsort(keys, kind="stable")]).encode()
    if not data.strip():
        raise ValueError("the compression ratio is undefined: all texts are empty")
    size = min(shard_bytes, len(data))
    shards = (data[start : start + size] for start in range(0, len(data) - size + 1, size))
    return float(np.mean([size / len(zlib.compress(shard, ZLIB_LEVEL)) for shard in shards]))


def _ngrams(texts: Sequence[str], n: int) -> tuple[Hashes, Ints]:
    """Hash of every n-gram of every text, in order, and the index of its text."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    grams, owners = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
    for block in _blocks(texts):
        hashes, owner = _ngrams_of_block(texts[block], n)
        grams.append(hashes)
        owners.append(owner + block.start)
    return np.concatenate(grams), np.concatenate(owners)


def _ngrams_of_block(texts: Sequence[str], n: int) -> tuple[Hashes, Ints]:
    characters = Characters.of([text.casefold() for text in texts])
    begins, ends = characters.units()
    words = span_hashes(scramble(characters.codes), begins, ends)
    owner = characters.owners(begins)
    first = np.arange(max(len(words) - n + 1, 0))
    first = first[owner[first] == owner[first + n - 1]]
    return span_hashes(words, first, first + n), owner[first]


def _blocks(texts: Sequence[str]) -> Iterator[slice]:
    """Slices of the texts with about `_BLOCK_CHARACTERS` characters each, and at least one text."""
    passed = np.cumsum([len(text) for text in texts], dtype=np.int64) // _BLOCK_CHARACTERS
    edges = [0, *(np.flatnonzero(np.diff(passed)) + 1).tolist(), len(texts)]
    return (slice(start, stop) for start, stop in pairwise(edges) if stop > start)
