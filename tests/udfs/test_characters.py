"""Units, classes and span hashes: the ground that words, rules and n-grams stand on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.characters import BROKEN, DIGIT, LETTER, UNSPACED, Characters, chunks, class_table, scramble, span_hashes

TEXTS = st.lists(st.text(alphabet="ab' ’1.\n中の\u0e01\u0e34\u0301", max_size=12), max_size=5)


def units(text: str) -> list[str]:
    begins, ends = Characters.of([text]).units()
    return [text[begin:end] for begin, end in zip(begins, ends, strict=True)]


@pytest.mark.parametrize(
    ("char", "bits"),
    [
        ("a", LETTER),
        ("é", LETTER),
        ("7", DIGIT),
        ("字", LETTER | UNSPACED),
        ("ก", LETTER | UNSPACED),
        ("한", LETTER),
        ("\U00020000", LETTER | UNSPACED),
        ("\ufffd", BROKEN),
        ("\ue000", BROKEN),
        ("\x00", BROKEN),
        ("\ufe0f", 0),
    ],
)
def test_classes(char: str, bits: int) -> None:
    assert class_table()[ord(char)] == bits


def test_units_of_spaced_and_unspaced_scripts() -> None:
    assert units("Don't stop, 水是H2O。") == ["Don't", "stop", "水", "是", "H2O"]


def test_marks_stay_with_their_letter() -> None:
    assert units("cafe\u0301 हिन्दी ที่") == ["cafe\u0301", "हिन्दी", "ที่"]


@settings(deadline=None)
@given(TEXTS)
def test_units_of_many_texts_are_those_of_each(texts: list[str]) -> None:
    characters = Characters.of(texts)
    begins, ends = characters.units()
    owners = characters.owners(begins)
    joined = "\n".join(texts)
    for index, text in enumerate(texts):
        own = [joined[a:b] for a, b, owner in zip(begins, ends, owners, strict=True) if owner == index]
        assert own == units(text)


@settings(deadline=None)
@given(TEXTS)
def test_counts_are_those_of_each_text(texts: list[str]) -> None:
    characters = Characters.of(texts)
    assert characters.count(characters.codes == ord("a")).tolist() == [text.count("a") for text in texts]


@settings(deadline=None)
@given(st.lists(st.text(max_size=9), max_size=9), st.integers(1, 20))
def test_chunks_lose_nothing(texts: list[str], max_chars: int) -> None:
    assert [text for chunk in chunks(texts, max_chars) for text in chunk] == texts


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=30), st.binary(max_size=30), st.binary(max_size=30))
def test_a_span_has_the_same_hash_wherever_it_lies(body: bytes, before: bytes, after: bytes) -> None:
    def hash_in(content: bytes, begin: int) -> int:
        values = scramble(np.frombuffer(content, dtype=np.uint8))
        return int(span_hashes(values, np.array([begin]), np.array([begin + len(body)]))[0])

    assert hash_in(before + body + after, len(before)) == hash_in(body, 0)


def test_span_hashes_are_the_same_on_any_machine() -> None:
    values = scramble(np.frombuffer(b"boostqa", dtype=np.uint8))
    assert span_hashes(values, np.array([0, 5]), np.array([5, 7])).tolist() == [
        1269931264972188563,
        6653939386629236645,
    ]


def test_lone_surrogates_are_broken_characters() -> None:
    assert Characters.of(["a\ud800b"]).has(BROKEN).tolist() == [False, True, False]
