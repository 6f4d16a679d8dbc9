"""Text statistics: small golden values, laws of merging, and indifference to order."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs import textstats
from udfs.textstats import NgramCounts, compression_ratio, distinct_n, ngram_counts_state, self_repetition

TEXTS = st.lists(st.text(alphabet="ab c,中文", max_size=20), max_size=8)
GOLDEN_HASHES = [1851561412567289144]


def state(texts: list[str], n: int) -> tuple[int, list[int]]:
    counts = ngram_counts_state(texts, n)
    return counts.total, counts.hashes.tolist()


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["the cat sat on the mat"], 1, 5 / 6),
        (["the cat sat on the mat"], 2, 1.0),
        (["the cat", "The CAT!"], 2, 1 / 2),  # case and punctuation do not count
        (["a b", "b a"], 2, 1.0),  # the order of words does
        (["a b c", "b c a"], 2, 3 / 4),  # no n-gram runs from one text into the next
        (["中文中文"], 1, 2 / 4),  # one character is one word
        (["中文中文"], 2, 2 / 3),
        (["한국어 문장 한국어"], 1, 2 / 3),  # Korean has spaces
        (["हिन्दी भाषा", "हिन्दी"], 1, 2 / 3),  # vowel signs belong to the word
    ],
)
def test_distinct_n_golden_values(texts: list[str], n: int, expected: float) -> None:
    assert distinct_n(texts, n) == pytest.approx(expected)


def test_hashes_are_the_same_in_every_process() -> None:
    assert ngram_counts_state(["the cat"], 2).hashes.tolist() == GOLDEN_HASHES


@settings(max_examples=50, deadline=None)
@given(left=TEXTS, right=TEXTS, n=st.integers(1, 4))
def test_states_of_partitions_add_to_the_state_of_all_texts(left: list[str], right: list[str], n: int) -> None:
    merged = ngram_counts_state(left, n).add(ngram_counts_state(right, n))
    assert (merged.total, merged.hashes.tolist()) == state(right + left, n)


@given(texts=TEXTS, n=st.integers(1, 3))
def test_a_state_packed_for_arrow_comes_back(texts: list[str], n: int) -> None:
    counts = ngram_counts_state(texts, n)
    back = NgramCounts.from_row(counts.to_row())
    assert (back.n, back.total, back.hashes.tolist()) == (counts.n, counts.total, counts.hashes.tolist())


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one two three four five", "", "two three four", "five", "three four five one two"]
    whole = (state(texts, 2), self_repetition(texts, 2))
    monkeypatch.setattr(textstats, "_BLOCK_CHARACTERS", 6)
    assert (state(texts, 2), self_repetition(texts, 2)) == whole


def test_what_is_undefined_or_mixed_is_refused() -> None:
    with pytest.raises(ValueError, match="no text has 3 words"):
        distinct_n(["too short", ""], 3)
    with pytest.raises(ValueError, match="no text has 4 words"):
        self_repetition([])
    with pytest.raises(ValueError, match="n must be at least 1"):
        distinct_n(["a"], 0)
    with pytest.raises(ValueError, match="do not add"):
        ngram_counts_state(["a"], 1).add(ngram_counts_state(["a"], 2))
    with pytest.raises(ValueError, match="not packed n-gram counts"):
        NgramCounts.from_row(b"nonsense")


def self_repetition_by_definition(texts: list[str], n: int) -> float:
    grams = [{tuple(words[i : i + n]) for i in range(len(words) - n + 1)} for words in map(str.split, texts)]
    sums = [sum(sum(gram in other for other in grams) for gram in own) for own in grams]
    return float(np.mean([math.log(total) for total in sums if total]))


def test_self_repetition_golden_value() -> None:
    # The first two share 2 of their 2-grams: sums of 1 + others are 2 + 2 and 2 + 2 + 1; the third shares none.
    texts = ["a b c", "a b c d", "x y"]
    assert self_repetition(texts, 2) == pytest.approx((math.log(4) + math.log(5) + math.log(1)) / 3)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=8).map(" ".join), min_size=1, max_size=6))
def test_self_repetition_equals_its_definition(texts: list[str]) -> None:
    assert self_repetition(texts, 2) == pytest.approx(self_repetition_by_definition(texts, 2))


def random_texts(n: int, seed: int = 0) -> list[str]:
    letters = np.random.default_rng(seed).integers(97, 123, size=(n, 200), dtype=np.uint8)
    return [row.tobytes().decode() for row in letters]


def test_a_single_short_shard_is_what_zlib_says() -> None:
    text = "what repeats repeats " * 50
    assert compression_ratio([text]) == pytest.approx(len(text) / len(zlib.compress(text.encode(), 9)))


def test_the_ratio_rises_with_copies_and_not_with_more_of_the_same_kind() -> None:
    fresh, copied = random_texts(400), random_texts(40) * 10
    assert compression_ratio(copied, 1 << 14) > 5 * compression_ratio(fresh, 1 << 14)
    few, many = compression_ratio(random_texts(100), 1 << 14), compression_ratio(fresh, 1 << 14)
    assert many == pytest.approx(few, rel=0.01)


def test_the_order_of_the_texts_has_no_part_and_the_seed_has() -> None:
    texts = [f"{text} {'x' * (index % 90)}" for index, text in enumerate(random_texts(200))]
    assert compression_ratio(texts[::-1], 4096) == compression_ratio(texts, 4096)
    assert compression_ratio(texts, 4096, seed=1) != compression_ratio(texts, 4096)


def test_the_rest_that_fills_no_shard_is_left_out() -> None:
    assert compression_ratio(["a" * 150], 100) == compression_ratio(["a" * 100], 100)


def test_characters_of_several_bytes_may_lie_on_a_cut() -> None:
    assert compression_ratio(["中文" * 100], 7) > 0


def test_compression_refuses_nothing_to_compress_and_empty_shards() -> None:
    for texts in ([], ["", ""]):
        with pytest.raises(ValueError, match="all texts are empty"):
            compression_ratio(texts)
    with pytest.raises(ValueError, match="shard_bytes"):
        compression_ratio(["a"], 0)
