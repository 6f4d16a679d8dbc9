"""Near-duplicates by MinHash: shingles of a text, signatures, band keys for a join, and the true Jaccard that decides.

Banding only proposes pairs; a pair counts once `jaccard_pairs` says so. Hashes are arithmetic on code points, so every
machine, process and Python gives the same ones.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.characters import LETTER, MARK, UNSPACED, Hashes, class_table, scramble, span_hashes

_EMPTY = np.uint32(0xFFFFFFFF)
_UNSPACED_SHARE = 0.3
# Flat arrays of this many shingles stay in a core's cache while all hash functions pass over them.
_SIGNATURE_BLOCK = 1 << 15
_PAIR_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class MinHashSettings:
    """What counts as a near-duplicate, and how hard to look for it.

    A pair of Jaccard s shares a band, and so is compared, with probability 1 - (1 - s^rows)^bands. For 28 bands of 5
    rows that is .07 at s = .3, .25 at .4, .59 at .5, .90 at .6, .994 at .7, .99998 at .8: pairs at or over the default
    threshold of .7 are missed in at most 6 of 1,000 cases.
    """

    ngram_words: int = 3
    ngram_chars: int = 5
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


def shingles(text: str, settings: MinHashSettings = DEFAULTS) -> Hashes:
    """Hashes a text's overlapping n-grams: of words, or of characters in Chinese, Japanese, Thai and the like.

    Characters are taken where over 30 % of the letters belong to scripts without spaces. The text is normalised first
    (NFKC, lower case, runs of white space as one space). Returns sorted unique hashes, shape (m,). A text shorter than
    one n-gram is one shingle; a text of white space has none.
    """
    normal = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    if not normal:
        return np.empty(0, dtype=np.uint64)
    codes = np.frombuffer(normal.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    if _is_unspaced(codes):
        return _ngrams(codes[codes != ord(" ")].astype(np.uint64), settings.ngram_chars)
    return _ngrams(_word_hashes(codes), settings.ngram_words)


def signatures(shingle_lists: Sequence[Hashes], settings: MinHashSettings = DEFAULTS) -> NDArray[np.uint32]:
    """Computes MinHash signatures: the least value of each of bands * rows hash functions over a text's shingles.

    Returns shape (n, bands * rows). A text without shingles gets a signature that no other text has; see `has_bands`.
    """
    factors, offsets = _hash_functions(settings)
    sizes = _sizes(shingle_lists)
    filled = np.flatnonzero(sizes)
    out = np.full((len(shingle_lists), factors.size), _EMPTY, dtype=np.uint32)
    for block in _blocks(sizes[filled], _SIGNATURE_BLOCK):
        rows = filled[block]
        flat = np.concatenate([shingle_lists[row] for row in rows]).astype(np.uint32)
        starts = np.cumsum(sizes[rows]) - sizes[rows]
        out[rows] = np.stack(
            [np.minimum.reduceat(flat * a + b, starts) for a, b in zip(factors, offsets, strict=True)], axis=1
        )
    return out


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


def jaccard(a: Hashes, b: Hashes) -> float:
    """Computes |a and b| / |a or b| of two shingle arrays from `shingles`.

    0 where either is empty: an empty text is nobody's duplicate.
    """
    common = np.intersect1d(a, b, assume_unique=True).size
    return float(common / (a.size + b.size - common)) if common else 0.0


def jaccard_pairs(
    shingle_lists: Sequence[Hashes], i: NDArray[np.integer], j: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Computes `jaccard` of many pairs at once: of texts i[p] and j[p] for each p.

    Shapes (p,) and (p,); returns shape (p,).
    """
    sizes = _sizes(shingle_lists)
    if len(i) == 0 or sizes.sum() == 0:
        return np.zeros(len(i))
    # Numbers in place of hashes leave room for the pair's number in one 64-bit key; their order is the hashes' order.
    known, numbers = np.unique(np.concatenate(list(shingle_lists)), return_inverse=True)
    starts = np.cumsum(sizes) - sizes
    common = np.zeros(len(i), dtype=np.int64)
    for block in _blocks(sizes[i] + sizes[j], _PAIR_BLOCK):
        left = _pair_keys(starts[i[block]], sizes[i[block]], numbers, known.size)
        right = _pair_keys(starts[j[block]], sizes[j[block]], numbers, known.size)
        if left.size:
            place = np.minimum(np.searchsorted(left, right), left.size - 1)
            common[block] = np.bincount(right[left[place] == right] // known.size, minlength=block.size)
    return np.asarray(common / np.maximum(sizes[i] + sizes[j] - common, 1))


def _is_unspaced(codes: NDArray[np.uint32]) -> bool:
    classes = class_table()[codes]
    letters = np.count_nonzero(classes & (LETTER | MARK))
    return bool(np.count_nonzero(classes & UNSPACED) > _UNSPACED_SHARE * letters)


def _word_hashes(codes: NDArray[np.uint32]) -> Hashes:
    spaces = np.flatnonzero(codes == ord(" "))
    return span_hashes(scramble(codes), np.append(0, spaces + 1), np.append(spaces, codes.size))


def _ngrams(values: Hashes, n: int) -> Hashes:
    n = min(n, values.size)
    begins = np.arange(values.size - n + 1)
    return np.unique(span_hashes(scramble(values), begins, begins + n))


def _stream(count: int, seed: int) -> Hashes:
    # Not numpy's generators: signatures that are stored must not change with numpy's version.
    return scramble(np.arange(count, dtype=np.uint64) + scramble(np.array([seed], dtype=np.uint64)))


def _hash_functions(settings: MinHashSettings) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    count = settings.bands * settings.rows
    drawn = _stream(2 * count, settings.seed).astype(np.uint32)
    return drawn[:count] | np.uint32(1), drawn[count:]


def _sizes(shingle_lists: Sequence[Hashes]) -> NDArray[np.int64]:
    return np.fromiter((one.size for one in shingle_lists), dtype=np.int64, count=len(shingle_lists))


def _blocks(weights: NDArray[np.int64], limit: int) -> list[NDArray[np.int64]]:
    """Cuts positions 0..n-1 into runs whose weights add up to about `limit`, or more where one item is heavier."""
    cuts = np.flatnonzero(np.diff(np.cumsum(weights) // limit)) + 1
    return np.split(np.arange(weights.size), cuts) if weights.size else []


def _pair_keys(
    starts: NDArray[np.int64], sizes: NDArray[np.int64], numbers: NDArray[np.int64], known: int
) -> NDArray[np.int64]:
    ends = np.cumsum(sizes)
    pair = np.repeat(np.arange(sizes.size), sizes)
    place = np.arange(pair.size) + (starts - ends + sizes)[pair]
    return np.asarray(pair * known + numbers[place])
