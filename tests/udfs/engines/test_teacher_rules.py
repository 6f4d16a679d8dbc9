"""The stand-in's answers: what each task asks for, in the text's language, and the same for the same request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.udfs.engines.test_teacher_text import CHINESE, ENGLISH
from udfs.engines.teacher_rules import PLAIN, answer
from udfs.tasks import TASKS

MENU = {"biology": "plants, cells, energy 生物 植物", "law": "courts, contracts 法律"}
GRADES = ("elementary", "middle_school", "high_school", "undergraduate", "graduate", "competition")


def solve(task: str, **row: Any) -> Any:
    """Renders, answers and parses: the answers must fit the real tasks."""
    parsed = TASKS[task].parse(answer(TASKS[task].render(row)), row)
    assert parsed.error is None
    assert parsed.dropped == ()
    return parsed.value


@pytest.mark.parametrize(("lang", "text", "final"), [("en", ENGLISH, "Final answer: "), ("zh", CHINESE, "最终答案：")])
def test_every_grade_gets_different_questions_in_the_texts_language(lang: str, text: str, final: str) -> None:
    for grade in GRADES:
        pairs = solve("multi_grade", lang=lang, text=text, grade=grade, n=3)
        assert len({pair["question"] for pair in pairs}) == 3
        assert all(final in pair["answer"] for pair in pairs)
    levels = [solve("multi_grade", lang=lang, text=text, grade=grade, n=4) for grade in GRADES[::2]]
    assert len({pair["question"] for pairs in levels for pair in pairs}) == 12


def test_a_hard_question_doubles_a_number() -> None:
    pairs = solve(
        "high_difficulty", lang="en", text="A typical leaf reflects 5% of the light.", target_difficulty=5, n=1
    )
    assert pairs[0]["form"] == "calculation"
    assert pairs[0]["answer"].startswith("Final answer: \\boxed{10}")


def test_equal_requests_get_equal_answers() -> None:
    row = {"lang": "en", "text": ENGLISH, "grade": "graduate", "n": 2}
    assert solve("multi_grade", **row) == solve("multi_grade", **row)


def test_annotation_follows_the_menu() -> None:
    label = solve("annotate", lang="en", text=ENGLISH, fields=MENU)
    assert (label["field"], label["confidence"]) == ("biology", 1.0)
    assert solve("annotate", lang="zh", text=CHINESE, fields=MENU)["field"] == "biology"
    nothing = solve("annotate", lang="en", text="Nothing fits.", fields=MENU)
    assert nothing["confidence"] == 0.0


def test_refining_puts_the_final_answer_last() -> None:
    draft = "Final answer: 10\nDoubling the value gives 10."
    value = solve("refine", lang="en", text=ENGLISH, question="What is twice 5?", answer=draft)
    assert value["verdict"] == "ok"
    assert value["answer"] == "Doubling the value gives 10.\n\nFinal answer: 10"
    fixed = solve("refine", lang="zh", text=CHINESE, question="五的两倍是多少？", answer="五加五。\n十")
    assert (fixed["verdict"], fixed["answer"]) == ("fixed", "五加五。\n十\n\n最终答案：十")
    again = solve("refine", lang="en", text=ENGLISH, question="What is twice 5?", answer=value["answer"])
    assert (again["answer"], again["edits"]) == (value["answer"], [])


@pytest.mark.parametrize(
    "question",
    ["According to the passage, what is light?", "What does the author think?", "What does Figure 3 show?",
     "根据上文，什么是光？", "如图所示，求角度。", "作者的观点是什么？"],
)  # fmt: skip
def test_a_question_that_points_outside_itself_is_rejected(question: str) -> None:
    value = solve("refine", lang="en", text=ENGLISH, question=question, answer="Final answer: light")
    assert value["verdict"] == "reject"
    assert "points outside itself" in value["reason"]


@pytest.mark.parametrize(
    "question", ["What is a passage in music?", "如何求图形的面积？", "Who was the first author of plays?"]
)
def test_other_questions_are_not(question: str) -> None:
    assert solve("refine", lang="en", text=ENGLISH, question=question, answer="Final answer: x")["verdict"] == "ok"


def test_a_probe_gets_one_of_its_letters() -> None:
    letters = {
        solve("probe", lang="en", question=f"Question {n}?", options=["a", "b", "c", "d"])["answer"] for n in range(50)
    }
    assert letters == {"A", "B", "C", "D"}
    assert solve("probe", lang="zh", question="一加一等于几？")["answer"].isdigit()


def test_an_unknown_task_gets_a_plain_sentence() -> None:
    assert answer([{"role": "system", "content": "Task: cook"}, {"role": "user", "content": "soup"}]) == PLAIN
    assert answer([]) == PLAIN
