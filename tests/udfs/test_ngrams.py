"""n-gram hashes: the same for the same words wherever they stand, and how much of a text is protected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.ngrams import ngram_hashes, overlap, protected_hashes

WORDS = st.lists(st.sampled_from(["water", "boils", "at", "sea", "水", "沸", "点"]), max_size=12)
QUESTION = "Which of these metals has the highest melting point at standard atmospheric pressure, iron or tungsten?"


def grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


@settings(deadline=None)
@given(WORDS, WORDS)
def test_hashes_are_equal_exactly_where_the_ngrams_are(a: list[str], b: list[str]) -> None:
    names = grams(a, 2) + grams(b, 2)
    hashes = np.concatenate([ngram_hashes(" ".join(words), 2, 2) for words in (a, b)])
    assert len(hashes) == len(names)
    assert len(set(hashes.tolist())) == len(set(names))


def test_case_width_punctuation_and_line_ends_do_not_matter() -> None:
    one = ngram_hashes("The CELL's membrane, he said — controls １２ flows!", 3)
    two = ngram_hashes("the cell’s membrane he\nsaid controls 12 flows", 3)
    assert one.tolist() == two.tolist()
    assert len(one) == 6


def test_word_order_matters() -> None:
    assert set(ngram_hashes("a b a", 2)) != set(ngram_hashes("b a b", 3))
    assert ngram_hashes("cat bites dog", 3).tolist() != ngram_hashes("dog bites cat", 3).tolist()


def test_unspaced_scripts_have_a_length_of_their_own() -> None:
    assert len(ngram_hashes("水的沸点是一百度", n=3, n_chars=5)) == 4
    assert len(ngram_hashes("water boils at one hundred degrees", n=3, n_chars=5)) == 4


def test_an_ngram_has_the_same_hash_in_text_of_another_language() -> None:
    chinese = ngram_hashes("水的沸点是一百度", n=4, n_chars=6)
    mixed = ngram_hashes("He wrote 水的沸点是一百度 on the board", n=4, n_chars=6)
    assert set(chinese) <= set(mixed)


def test_hashes_are_the_same_on_any_machine() -> None:
    assert ngram_hashes("Water boils at 100 °C; 水沸腾", n=3, n_chars=2).tolist() == [
        -7235929782884823629,
        5747487428159464287,
        9066055161351904816,
        8388023107947054439,
        -8657441208048908944,
        -5851084488262431041,
        -9093516048216662241,
    ]


@pytest.mark.parametrize("text", ["", "...", "only five words are here"])
def test_a_text_shorter_than_an_ngram_has_none(text: str) -> None:
    hashes = ngram_hashes(text, 6)
    assert hashes.dtype == np.int64
    assert hashes.size == 0
    assert overlap(hashes, protected_hashes([QUESTION])) == (0, 0.0)


def test_overlap_of_a_copied_question() -> None:
    protected = protected_hashes([QUESTION, "二氧化碳通入澄清石灰水后先变浑浊再变澄清的原因是什么"])
    assert overlap(ngram_hashes(QUESTION.upper()), protected) == (4, 1.0)
    page = f"{'Some words before it. ' * 5}{QUESTION}{' And some words after it.' * 5}"
    hits, share = overlap(ngram_hashes(page), protected)
    assert hits == 4
    assert share == hits / (20 + 16 + 25 - 12)
    assert overlap(ngram_hashes("An unrelated text. " * 20), protected) == (0, 0.0)
    assert overlap(ngram_hashes(QUESTION), protected_hashes([])) == (0, 0.0)


def test_protected_hashes_are_sorted_and_unique() -> None:
    protected = protected_hashes([QUESTION, QUESTION])
    assert np.all(np.diff(protected) > 0)
    assert len(protected) == 4
