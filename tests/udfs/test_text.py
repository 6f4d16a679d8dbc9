"""Normal form, keys, words and sentences."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.text import is_unspaced, normal_hash, normalise, sentence_spans, sentences, stable_id, text_hash, words


@settings(deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_case_width_and_whitespace_do_not_make_a_difference() -> None:
    assert normal_hash(" The  ＡＢＣ of\nStraße ") == normal_hash("the abc\u00a0of STRASSE")
    assert normal_hash("a b") != normal_hash("ab")


def test_every_character_has_a_fixed_normal_form() -> None:
    changing = [code for code in range(0x30000) if normalise(once := normalise(f"a{chr(code)}b")) != once]
    assert changing == []


def test_keys_are_the_same_for_ever() -> None:
    assert stable_id("source", "path/to.jsonl", "字") == "b0b2a53700e36657bf1054ec83ab59c5"
    assert text_hash("水的沸点") == hashlib.sha256("水的沸点".encode()).hexdigest()[:32]


@settings(deadline=None)
@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_different_parts_have_different_ids(a: list[str], b: list[str]) -> None:
    assert (stable_id(*a) == stable_id(*b)) == (a == b)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Plain English prose.", False),
        ("水在一百度沸腾。", True),
        ("これは日本語の文です。", True),
        ("นี่คือข้อความ", True),
        ("한국어 문장입니다", False),
        ("在 Python 3 里用 print 输出", True),
        ("The word 水 means water in Chinese", False),
        ("", False),
        ("3.14 + 2", False),
    ],
)
def test_is_unspaced(text: str, expected: bool) -> None:
    assert is_unspaced(text) is expected


def test_words_of_mixed_text() -> None:
    assert words("It's 3.5 km, 约等于2英里!") == ["It's", "3", "5", "km", "约", "等", "于", "2", "英", "里"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Wu met J. R. Lee, e.g. in Fig. 3. Then?", ["Dr. Wu met J. R. Lee, e.g. in Fig. 3.", "Then?"]),
        ('"Really?" she asked. "Yes." He left.', ['"Really?" she asked.', '"Yes."', "He left."]),
        ("Pi is 3.14 and 5! = 120 here.", ["Pi is 3.14 and 5! = 120 here."]),
        ("水沸腾了。“真的？”他问道！好吗?好。", ["水沸腾了。", "“真的？”", "他问道！", "好吗?", "好。"]),
        ("# A title. Still\nText on\ntwo lines.", ["# A title. Still", "Text on\ntwo lines."]),
        ("Needs:\n- flour\n- water\n1. Mix.\n2. Bake", ["Needs:", "- flour", "- water", "1. Mix.", "2. Bake"]),
        ("No stop here\n\nNext paragraph", ["No stop here", "Next paragraph"]),
        (" \n ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@settings(deadline=None)
@given(st.text(alphabet="aB .!?\n#-1。？”’\u3000", max_size=60))
def test_sentences_hold_every_character_but_whitespace(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join("".join(text[begin:end].split()) for begin, end in spans) == "".join(text.split())
    assert all(text[begin:end].strip() == text[begin:end] for begin, end in spans)
