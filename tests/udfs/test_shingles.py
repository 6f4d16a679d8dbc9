"""Shingles: what counts as one, that a batch changes nothing, and that pairs get their true Jaccard."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs import shingles as module
from udfs.shingles import ShingleSets, jaccard, jaccard_pairs, shingles

ROOT = Path(__file__).parents[2]
TEXTS = st.text(alphabet="ab cd\n中文字。ß\u3000", max_size=60)


def test_layout_case_and_width_do_not_count() -> None:
    plain = shingles("the cat sat on the mat")
    assert np.array_equal(plain, shingles("  The CAT\n sat\ton the \u2000 mat "))
    assert np.array_equal(plain, shingles("ｔｈｅ cat sat on the mat"))
    assert plain.size == 4


def test_signs_that_are_not_seen_do_not_count() -> None:
    seen = "The solar wind blows from the sun, 太阳风"
    assert list(shingles("\ufeffThe so\u00adlar wind\u200b blows\u2060 from the \u200fsun, 太\u200b阳风")) == list(
        shingles(seen)
    )
    assert shingles("\u200b\u00ad").size == 0


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
    code = "from udfs.shingles import shingles; print(shingles('the cat sat on the mat').tolist())"
    made = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        for seed in ("1", "2")
    ]
    assert [one.stdout.decode() for one in made] == [f"{shingles('the cat sat on the mat').tolist()}\n"] * 2


def test_stored_values_never_change() -> None:
    assert int(shingles("the cat sat on the mat")[0]) == 11825199950961979824
    assert ShingleSets.of(["the cat sat on the mat"]).digests() == ["b91c68010ade3bec4e2aef4f728f486d"]


@given(st.lists(TEXTS, max_size=8))
def test_a_set_depends_on_its_text_alone(texts: list[str]) -> None:
    together = ShingleSets.of(texts)
    assert len(together) == len(texts)
    for row, text in enumerate(texts):
        alone = shingles(text)
        assert np.array_equal(together[row], alone)
        assert np.array_equal(alone, np.unique(alone))
    assert ShingleSets.of(texts).digests() == [ShingleSets.of([text]).digests()[0] for text in texts]


def test_texts_of_many_chunks_keep_their_order() -> None:
    texts = [f"text {n} of a book " * 400 if n % 3 else f"第{n}章的内容是这样的" * 300 for n in range(40)]
    together = ShingleSets.of(texts)
    assert sum(map(len, texts)) > 3 * module._CHUNK
    assert all(np.array_equal(together[row], shingles(text)) for row, text in enumerate(texts))


def test_a_digest_is_equal_for_equal_sets_alone() -> None:
    repeated, same, other, blank = ShingleSets.of(
        ["a b c a b c a b", "a b c a b c a b c a", "a b c a b d a b", " "]
    ).digests()
    assert repeated == same != other
    assert blank is None


@given(st.lists(TEXTS, max_size=6))
def test_sets_go_through_a_binary_column(texts: list[str]) -> None:
    made = ShingleSets.of(texts)
    back = ShingleSets.from_binary(made.to_binary())
    assert np.array_equal(back.values, made.values)
    assert np.array_equal(back.sizes, made.sizes)


@settings(max_examples=50)
@given(st.lists(TEXTS, min_size=1, max_size=8), st.data())
def test_pairs_get_the_jaccard_of_their_sets(texts: list[str], data: st.DataObject) -> None:
    sets = ShingleSets.of(texts)
    index = st.integers(0, len(texts) - 1)
    pairs = np.array(data.draw(st.lists(st.tuples(index, index), max_size=20)), dtype=np.int64).reshape(-1, 2)
    expected = []
    for i, j in pairs:
        one, other = set(sets[i].tolist()), set(sets[j].tolist())
        expected.append(len(one & other) / max(len(one | other), 1))
        assert jaccard(sets[i], sets[j]) == expected[-1]
    assert jaccard_pairs(sets, pairs[:, 0], pairs[:, 1]).tolist() == expected
