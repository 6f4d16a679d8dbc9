"""Hashes of word n-grams, for decontamination against benchmarks: the same text gives the same hashes on any machine."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from udfs.characters import UNSPACED, Characters, Hashes, Ints, scramble, span_hashes
from udfs.text import normalise

# GPT-3 (Brown et al. 2020, appendix C) uses 13 words; a Chinese word has about 1.5 characters.
N_WORDS, N_CHARS = 13, 20


def ngram_hashes(text: str, n: int = N_WORDS, n_chars: int = N_CHARS) -> Ints:
    """Hashes of all n-grams of the normalised text in order, int64 (g,), with repeats.

    Words count without case, width variants and punctuation. An n-gram that begins with a character of an unspaced
    script has `n_chars` units, any other has `n` (a unit is a word, or one such character). So its hash depends on the
    n-gram alone, whatever language surrounds it. A text shorter than one n-gram has none: compare it by `normal_hash`.
    """
    characters = Characters.of([normalise(text)])
    begins, ends = characters.units()
    units = unit_hashes(characters, begins, ends)
    single = (characters.classes[begins] & UNSPACED) > 0
    hashes, starts = [], []
    for length, chosen in ((n, ~single), (n_chars, single)):
        first = np.flatnonzero(chosen[: max(0, len(units) - length + 1)])
        starts.append(first)
        hashes.append(span_hashes(units, first, first + length))
    return np.concatenate(hashes)[np.argsort(np.concatenate(starts))].view(np.int64)


def unit_hashes(characters: Characters, begins: Ints, ends: Ints) -> Hashes:
    """A hash of each unit [begin, end) by its code points; both apostrophes are one."""
    codes = np.where(characters.codes == ord("\N{RIGHT SINGLE QUOTATION MARK}"), ord("'"), characters.codes)
    return span_hashes(scramble(codes), begins, ends)


def protected_hashes(texts: Iterable[str], n: int = N_WORDS, n_chars: int = N_CHARS) -> Ints:
    """The n-gram hashes of all texts, sorted and without repeats: the second argument of `overlap`."""
    parts = [ngram_hashes(text, n, n_chars) for text in texts]
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *parts]))


def overlap(text_hashes: Ints, protected: Ints) -> tuple[int, float]:
    """How many of a text's n-grams are protected, and their share of all its n-grams (0 for a text without any).

    `protected` must be sorted, as `protected_hashes` gives it.
    """
    if not len(text_hashes) or not len(protected):
        return 0, 0.0
    places = np.minimum(np.searchsorted(protected, text_hashes), len(protected) - 1)
    hits = int(np.count_nonzero(protected[places] == text_hashes))
    return hits, hits / len(text_hashes)
