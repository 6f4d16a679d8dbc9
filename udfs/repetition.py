"""What repeats inside each of many texts: n-grams of units (words, or characters of an unspaced script) and lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from udfs.characters import UNSPACED, Characters, Floats, Hashes, Ints, Mask, scramble, span_hashes
from udfs.ngrams import unit_hashes


@dataclass(frozen=True, slots=True)
class Units:
    """The units of n texts: owner, hash, and whether it is one unspaced character, each (u,)."""

    n_texts: int
    owner: Ints
    hashes: Hashes
    single: Mask

    @classmethod
    def of(cls, characters: Characters) -> Units:
        """The units of the texts."""
        begins, ends = characters.units()
        single = (characters.classes[begins] & UNSPACED) > 0
        return cls(len(characters.begins), characters.owners(begins), unit_hashes(characters, begins, ends), single)

    def repeated(self, n: int) -> Ints:
        """For each text how many units lie inside an n-gram that stood before. An n-gram from an unspaced one has 2n."""
        first, last, hashes = self._grams(n)
        again, _ = repeats(self.owner[first], hashes)
        depth = np.zeros(len(self.owner) + 1, dtype=np.int64)
        np.add.at(depth, first[again], 1)
        np.add.at(depth, last[again], -1)
        covered = np.cumsum(depth[:-1]) > 0
        return np.bincount(self.owner[covered], minlength=self.n_texts)

    def most_frequent(self, n: int) -> Floats:
        """For each text the units of all places of its most frequent n-gram, at most all; 0 where none repeats."""
        first, last, hashes = self._grams(n)
        again, times = repeats(self.owner[first], hashes)
        most = np.zeros(self.n_texts)
        np.maximum.at(most, self.owner[first[again]], (times * (last - first))[again])
        capped: Floats = np.minimum(most, np.bincount(self.owner, minlength=self.n_texts))
        return capped

    def distinct(self, wanted: Sequence[str]) -> Floats:
        """How many of the wanted words each text has."""
        characters = Characters.of(wanted)
        found = [
            np.bincount(self.owner[self.hashes == one], minlength=self.n_texts) > 0
            for one in unit_hashes(characters, characters.begins, characters.ends)
        ]
        total: Floats = np.sum(found, axis=0, dtype=np.float64)
        return total

    def _grams(self, n: int) -> tuple[Ints, Ints, Hashes]:
        """First unit, end and hash of each n-gram inside one text."""
        lengths = np.where(self.single, 2 * n, n)
        first = np.flatnonzero(np.arange(len(lengths)) + lengths <= len(lengths))
        last = first + lengths[first]
        inside = self.owner[first] == self.owner[last - 1]
        first, last = first[inside], last[inside]
        return first, last, span_hashes(self.hashes, first, last)


def repeats(owner: Ints, hashes: Hashes) -> tuple[Mask, Ints]:
    """Which entries equal an earlier one of the same owner, and how often each one's value occurs there."""
    keys = hashes ^ scramble(owner.astype(np.uint64))
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], keys[order][1:] != keys[order][:-1]))) if len(keys) else order
    again = np.ones(len(keys), dtype=bool)
    again[order[starts]] = False
    times = np.empty(len(keys), dtype=np.int64)
    sizes = np.diff(np.append(starts, len(keys)))
    times[order] = np.repeat(sizes, sizes)
    return again, times
