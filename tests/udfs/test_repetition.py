"""Repetition: what equals an earlier one of the same text, and how much of a text n-grams cover."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.characters import Characters
from udfs.repetition import Units, repeats

TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=12), min_size=1, max_size=4)


def units_of(texts: list[list[str]]) -> Units:
    return Units.of(Characters.of([" ".join(words) for words in texts]))


def test_repeats_are_counted_within_an_owner() -> None:
    again, times = repeats(np.array([0, 0, 1, 0, 1]), np.array([7, 8, 7, 7, 7], dtype=np.uint64))
    assert again.tolist() == [False, False, False, True, True]
    assert times.tolist() == [2, 1, 2, 2, 2]


@settings(deadline=None)
@given(TEXTS)
def test_repeated_units_are_those_of_a_plain_loop(texts: list[list[str]]) -> None:
    expected = []
    for words in texts:
        seen, covered = set(), set()
        for start in range(len(words) - 1):
            pair = tuple(words[start : start + 2])
            covered |= {start, start + 1} if pair in seen else set()
            seen.add(pair)
        expected.append(len(covered))
    assert units_of(texts).repeated(2).tolist() == expected


@settings(deadline=None)
@given(TEXTS)
def test_the_most_frequent_ngram_is_that_of_a_plain_loop(texts: list[list[str]]) -> None:
    expected = []
    for words in texts:
        times = Counter(tuple(words[start : start + 2]) for start in range(len(words) - 1))
        most = max(times.values(), default=0)
        expected.append(min(2 * most, len(words)) if most > 1 else 0)
    assert units_of(texts).most_frequent(2).tolist() == expected


def test_an_unspaced_ngram_has_twice_the_units() -> None:
    units = Units.of(Characters.of(["一二三四一二三四", "a b c a b c"]))
    assert units.repeated(2).tolist() == [4, 3]
    assert units.repeated(4).tolist() == [0, 0]


def test_distinct_words_are_whole_words() -> None:
    assert Units.of(Characters.of(["the theory of the sea", "then", ""])).distinct(["the", "of"]).tolist() == [2, 0, 0]
