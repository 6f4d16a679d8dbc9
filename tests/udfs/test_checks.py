"""Rules for finished questions: each fault is found under its name, and good questions pass."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.checks import check_quality, first_fault, option_fault

GOOD = {
    "question": "Why does ice float on liquid water?",
    "answer": "Its molecules sit further apart, so it is less dense.",
    "form": "open",
    "lang": "en",
}
GOOD_ZH = {
    "question": "冰为什么会浮在水面上？",
    "answer": "冰的分子间距更大，密度比水小。",
    "form": "open",
    "lang": "zh",
}
CHOICE = "Which gas do plants take in?\nA. oxygen\nB. carbon dioxide\nC. nitrogen"


def fault(row: dict[str, Any], **changes: Any) -> str | None:
    return first_fault({**row, **changes})


@pytest.mark.parametrize("row", [GOOD, GOOD_ZH])
def test_a_good_question_has_no_fault(row: dict[str, Any]) -> None:
    assert first_fault(row) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": " \n"}, "no_answer_v1"),
        ({"answer": None}, "no_answer_v1"),
        ({"question": ""}, "no_answer_v1"),
        ({"question": "What does <source> say of ice?"}, "prompt_leak_v1"),
        ({"answer": "Reply with one JSON object: it floats."}, "prompt_leak_v1"),
        ({"question": "According to the passage, why does ice float?"}, "points_outside_v1"),
        ({"question": "What is the main claim in the above text?"}, "points_outside_v1"),
        ({"question": "冰为什么会浮在水面上？"}, "wrong_language_v1"),
    ],
)
def test_each_fault_has_its_name(changes: dict[str, Any], reason: str) -> None:
    assert fault(GOOD, **changes) == reason


@pytest.mark.parametrize("question", ["根据上文，冰为什么会浮在水面上？", "文中提到的作者认为冰为什么会浮起来？"])
def test_chinese_questions_must_stand_alone_too(question: str) -> None:
    assert fault(GOOD_ZH, question=question) == "points_outside_v1"


@pytest.mark.parametrize("question", ["什么是复合材料？请说明它的两个组成部分。", "在中文中，量词放在名词的什么位置？"])
def test_ordinary_chinese_words_are_not_taken_for_a_pointer(question: str) -> None:
    assert fault(GOOD_ZH, question=question) is None


def test_a_chinese_seed_wants_a_chinese_question() -> None:
    assert fault(GOOD_ZH, question="Why does ice float on liquid water?") == "wrong_language_v1"


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        (CHOICE, "Plants take in carbon dioxide.\n\nFinal answer: B", None),
        (CHOICE, "The answer is (B).", None),
        (CHOICE, "最终答案：B", None),
        (CHOICE, "Final answer: carbon dioxide", "no_single_letter_v1"),
        (CHOICE, "Final answer: D", "no_single_letter_v1"),
        (CHOICE, "The answer is A. Wait, the answer is B.", "no_single_letter_v1"),
        ("Which gas do plants take in?\nA. oxygen", "Final answer: A", "too_few_options_v1"),
        ("Which gas do plants take in?", "Final answer: A", "too_few_options_v1"),
    ],
)
def test_multiple_choice_needs_options_and_one_letter(question: str, answer: str, reason: str | None) -> None:
    assert option_fault(question, answer) == reason
    assert fault(GOOD, question=question, answer=answer, form="multiple_choice") == reason


def test_an_article_behind_the_word_answer_is_not_a_letter() -> None:
    answer = "The answer is a gas that burning gives off.\n\nFinal answer: B"
    assert option_fault(CHOICE, answer) is None


texts = st.one_of(st.none(), st.text(max_size=200))


@given(texts, texts, st.sampled_from(["ok", "fixed", "reject", None]), st.one_of(st.none(), st.floats(0, 1)))
def test_quality_is_a_share_and_grows_with_the_seed(
    question: str | None, answer: str | None, verdict: str | None, seed: float | None
) -> None:
    row = {"question": question, "answer": answer, "verdict": verdict, "seed_quality": seed}
    assert 0 <= check_quality(row) <= 1
    assert check_quality({**row, "seed_quality": 1.0}) >= check_quality(row)


def test_a_refiner_that_had_to_correct_lowers_the_quality() -> None:
    row = {**GOOD, "verdict": "ok", "seed_quality": 0.9}
    assert check_quality(row) > check_quality({**row, "verdict": "fixed"})


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("How does heat flow in the material of a pan when one side is warm?", None),
        ("How far from the source does the light have half its intensity?", None),
        ("What does the given text say about the tides of the sea?", "points_outside_v1"),
        ("According to the source, why do tides rise twice a day?", "points_outside_v1"),
    ],
)
def test_a_material_or_a_source_may_be_the_subject(question: str, reason: str | None) -> None:
    row = {
        "question": question,
        "answer": "It does so by conduction. Final answer: conduction",
        "form": "open",
        "lang": "en",
    }
    assert first_fault(row) == reason
