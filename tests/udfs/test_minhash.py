"""MinHash: what counts as a shingle, how well signatures estimate, and that pairs get their true Jaccard."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.minhash import (
    DEFAULTS,
    MinHashSettings,
    band_keys,
    has_bands,
    jaccard,
    jaccard_pairs,
    shingles,
    signatures,
)

ROOT = Path(__file__).parents[2]
TEXTS = st.text(alphabet="ab cd中文字。", max_size=60)


def sets_of_jaccard(wanted: float, pairs: int, size: int = 300) -> tuple[list[np.ndarray], list[np.ndarray], float]:
    random = np.random.default_rng(7)
    common = round(2 * size * wanted / (1 + wanted))
    drawn = random.integers(0, 2**64, (pairs, 2 * size - common), dtype=np.uint64)
    left, right = np.sort(drawn[:, :size], axis=1), np.sort(drawn[:, size - common :], axis=1)
    return list(left), list(right), common / (2 * size - common)


def test_layout_case_and_width_do_not_count() -> None:
    plain = shingles("the cat sat on the mat")
    assert np.array_equal(plain, shingles("  The CAT\n sat\ton the \u2000 mat "))
    assert np.array_equal(plain, shingles("ｔｈｅ cat sat on the mat"))
    assert plain.size == 4


def test_signs_count_because_formulas_differ_by_them() -> None:
    assert jaccard(shingles("what is 2 + 3"), shingles("what is 2 - 3")) < 1


def test_unspaced_scripts_are_cut_by_character() -> None:
    one, other = shingles("機械学習は統計学の一分野である"), shingles("機械学習は統計学の一分野だ")
    assert one.size == 15 - 5 + 1
    assert 0.5 < jaccard(one, other) < 1
    assert np.array_equal(shingles("人工智能研究进展"), shingles("人工智能\n研究 进展"))
    assert shingles("人工智能研究进展 and some longer English words about all of it").size == 10 - 3 + 1


def test_korean_and_numbers_are_cut_by_word() -> None:
    assert shingles("나는 어제 학교에 갔다").size == 2
    assert shingles("1 2 3 4").size == 2


def test_short_text_is_one_shingle_and_blank_text_none() -> None:
    assert shingles("two words").size == shingles("中").size == shingles("?!").size == 1
    assert shingles("").size == shingles(" \n\u3000").size == 0


def test_word_boundaries_and_order_count() -> None:
    variants = ["ab c d", "a bc d", "abc d", "d c ab", "ab c", "ab c d d"]
    assert len({int(shingles(text)[0]) if shingles(text).size == 1 else -1 for text in variants}) == len(variants)


def test_same_numbers_in_another_process() -> None:
    code = (
        "from udfs.minhash import *; s = shingles('the cat sat on the mat');"
        "print(s.tolist(), band_keys(signatures([s]))[0, :3].tolist())"
    )
    made = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        for seed in ("1", "2")
    ]
    here = shingles("the cat sat on the mat")
    expected = f"{here.tolist()} {band_keys(signatures([here]))[0, :3].tolist()}\n"
    assert [one.stdout.decode() for one in made] == [expected, expected]


def test_stored_values_never_change() -> None:
    # Signatures are stored: another hash needs a setting that names it, not another golden value.
    here = shingles("the cat sat on the mat")
    assert int(here[0]) == 11825199950961979824
    assert signatures([here])[0, :3].tolist() == [230732429, 443676885, 749203848]
    assert band_keys(signatures([here]))[0, :2].tolist() == [376143389942052318, -2165488355078863434]


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=8))
def test_a_signature_depends_on_its_text_alone(texts: list[str]) -> None:
    lists = [shingles(text) for text in texts]
    together = signatures(lists)
    assert together.shape == (len(texts), DEFAULTS.bands * DEFAULTS.rows)
    for row, one in enumerate(lists):
        assert np.array_equal(signatures([one])[0], together[row])
    assert has_bands(together).tolist() == [one.size > 0 for one in lists]


def test_long_texts_cross_blocks() -> None:
    random = np.random.default_rng(0)
    lists = [np.unique(random.integers(0, 2**64, size, dtype=np.uint64)) for size in (50_000, 3, 0, 40_000, 1)]
    together = signatures(lists)
    assert np.array_equal(together, np.concatenate([signatures([one]) for one in lists]))


@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.7, 0.8])
def test_signatures_estimate_jaccard_and_bands_follow_the_s_curve(wanted: float) -> None:
    left, right, true = sets_of_jaccard(wanted, pairs=1500)
    one, other = signatures(left), signatures(right)
    equal = (one == other).mean(axis=1)
    assert equal.mean() == pytest.approx(true, abs=0.01)
    assert equal.std() == pytest.approx(np.sqrt(true * (1 - true) / one.shape[1]), rel=0.15)
    found = (band_keys(one) == band_keys(other)).any(axis=1).mean()
    assert found == pytest.approx(1 - (1 - true**DEFAULTS.rows) ** DEFAULTS.bands, abs=0.04)


def test_band_keys_are_signed_and_tell_bands_apart() -> None:
    same_everywhere = np.full((1, DEFAULTS.bands * DEFAULTS.rows), 5, dtype=np.uint32)
    keys = band_keys(same_everywhere)
    assert keys.dtype == np.int64
    assert np.unique(keys).size == DEFAULTS.bands


def test_seed_changes_signatures_only() -> None:
    other = MinHashSettings(seed=1)
    here = shingles("the cat sat on the mat")
    assert np.array_equal(here, shingles("the cat sat on the mat", other))
    assert not np.array_equal(signatures([here]), signatures([here], other))


@settings(deadline=None, max_examples=50)
@given(st.lists(TEXTS, min_size=1, max_size=8), st.data())
def test_pairs_get_the_jaccard_of_their_sets(texts: list[str], data: st.DataObject) -> None:
    lists = [shingles(text) for text in texts]
    index = st.integers(0, len(texts) - 1)
    pairs = np.array(data.draw(st.lists(st.tuples(index, index), max_size=20)), dtype=np.int64).reshape(-1, 2)
    expected = []
    for i, j in pairs:
        one, other = set(lists[i].tolist()), set(lists[j].tolist())
        expected.append(len(one & other) / max(len(one | other), 1))
        assert jaccard(lists[i], lists[j]) == expected[-1]
    assert jaccard_pairs(lists, pairs[:, 0], pairs[:, 1]).tolist() == expected


@pytest.mark.parametrize("wrong", [{"bands": 0}, {"rows": -1}, {"threshold": 0.0}, {"threshold": 1.5}, {"seed": -1}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MinHashSettings(**wrong)
