"""Near-duplicates by MinHash: signatures of shingle sets, and the band keys by which rows that may be alike meet.

Banding only proposes pairs; a pair counts once `udfs.shingles.jaccard_pairs` says so. Hashes are integer arithmetic, so
every machine, process and Python gives the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.characters import Hashes, scramble
from udfs.shingles import NGRAM_CHARS, NGRAM_WORDS, ShingleSets

_EMPTY = np.uint32(0xFFFFFFFF)
# An array of this many shingles stays in a core's cache while all hash functions pass over it.
_SIGNATURE_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class MinHashSettings:
    """What counts as a near-duplicate, and how hard to look for it.

    A pair of Jaccard s shares a band, and so is compared, with probability 1 - (1 - s^rows)^bands. For 28 bands of 5
    rows that is .07 at s = .3, .25 at .4, .59 at .5, .90 at .6, .994 at .7, .99998 at .8: pairs at or over the default
    threshold of .7 are missed in at most 6 of 1,000 cases.
    """

    ngram_words: int = NGRAM_WORDS
    ngram_chars: int = NGRAM_CHARS
    bands: int = 28
    rows: int = 5
    seed: int = 0
    threshold: float = 0.7

    def __post_init__(self) -> None:
        if min(self.ngram_words, self.ngram_chars, self.bands, self.rows) < 1:
            raise ValueError("ngram_words, ngram_chars, bands and rows must be 1 or more.")
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold must be over 0 and at most 1, not {self.threshold}.")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}.")


DEFAULTS = MinHashSettings()


def signatures(sets: ShingleSets, settings: MinHashSettings = DEFAULTS) -> NDArray[np.uint32]:
    """Computes MinHash signatures: the least value of each of bands * rows hash functions over a text's shingles.

    Returns shape (n, bands * rows). A text without shingles gets a signature that no other text has; see `has_bands`.
    """
    factors, offsets = _hash_functions(settings)
    out = np.full((len(sets), factors.size), _EMPTY, dtype=np.uint32)
    filled = np.flatnonzero(sets.sizes)
    sizes, starts = sets.sizes[filled], sets.starts[filled]
    passed = np.cumsum(sizes) // _SIGNATURE_BLOCK
    for block in np.split(np.arange(filled.size), np.flatnonzero(np.diff(passed)) + 1) if filled.size else []:
        first, last = int(starts[block[0]]), int(starts[block[-1]] + sizes[block[-1]])
        # Only empty sets lie between filled ones: the values of a block are one slice.
        least = _least(sets.values[first:last].astype(np.uint32), starts[block] - first, factors, offsets)
        out[filled[block]] = least.T
    return out


def _least(
    flat: NDArray[np.uint32], starts: NDArray[np.int64], factors: NDArray[np.uint32], offsets: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    hashed = np.empty_like(flat)
    least = np.empty((factors.size, starts.size), dtype=np.uint32)
    for row, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
        np.multiply(flat, factor, out=hashed)
        np.add(hashed, offset, out=hashed)
        np.minimum.reduceat(hashed, starts, out=least[row])
    return least


def has_bands(signature: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Says which signatures, shape (n, bands * rows), come from a text with shingles.

    Only those rows may be joined by band. Shape (n,).
    """
    return np.asarray((signature != _EMPTY).any(axis=1))


def band_keys(signature: NDArray[np.uint32], settings: MinHashSettings = DEFAULTS) -> NDArray[np.int64]:
    """Hashes each band of a signature, with the band's number, to one key: rows that share a key are a candidate pair.

    Returns shape (n, bands), signed because Spark's integers are. Leave rows out where `has_bands` is false: empty
    texts share all their keys.
    """
    bands = signature.reshape(len(signature), settings.bands, settings.rows)
    keys = np.tile(_stream(settings.bands, settings.seed), (len(signature), 1))
    for row in range(settings.rows):
        keys = scramble(keys + bands[:, :, row])
    return keys.view(np.int64)


def _stream(count: int, seed: int) -> Hashes:
    # Not numpy's generators: signatures that are stored must not change with numpy's version.
    return scramble(np.arange(count, dtype=np.uint64) + scramble(np.array([seed], dtype=np.uint64)))


def _hash_functions(settings: MinHashSettings) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    count = settings.bands * settings.rows
    drawn = _stream(2 * count, settings.seed).astype(np.uint32)
    return drawn[:count] | np.uint32(1), drawn[count:]
