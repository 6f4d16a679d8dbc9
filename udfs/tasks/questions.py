"""The answer that both synthesis tasks ask for: a list of question-answer pairs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from udfs.tasks.answers import read_answer
from udfs.tasks.task import NO_ROW, Parsed, Row

FORMS = ("open", "multiple_choice", "calculation", "proof", "comparison", "case", "true_false")
MAX_QUESTION_CHARS = 20_000
MAX_ANSWER_CHARS = 100_000


class Item(BaseModel):
    """One pair as the model wrote it."""

    model_config = ConfigDict(extra="forbid")
    question: str
    answer: str
    form: str


class Items(BaseModel):
    """The whole answer: `{"items": [...]}`; a bare list or a single pair is taken as well."""

    model_config = ConfigDict(extra="forbid")
    items: list[Item]

    @model_validator(mode="before")
    @classmethod
    def wrap(cls, value: Any) -> Any:
        """Brings the shapes that models fall into to the one that was asked for."""
        if isinstance(value, dict) and "question" in value:
            value = [value]
        if isinstance(value, dict) and len(value) == 1:
            value = next(iter(value.values()))
        if not isinstance(value, list):
            return value
        return {"items": [_pair(item) for item in value]}


def _pair(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return {
        "form": "other",
        **{name: item[name] for name in ("question", "answer", "form") if item.get(name) is not None},
    }


def parse_questions(text: str, row: Row = NO_ROW) -> Parsed:
    """Reads question-answer pairs: value = list of {question, answer, form}, in the answer's order.

    Pairs without a question or an answer, or of an absurd length, are named in `dropped`; if none is left, that is the
    error. `form` is one of FORMS or `other`.
    """
    answer, problem = read_answer(text, Items)
    if answer is None:
        return Parsed(error=problem)
    pairs, dropped = [], []
    for number, item in enumerate(answer.items, start=1):
        fault = _fault(item)
        if fault:
            dropped.append(f"item {number}: {fault}")
        else:
            pairs.append({"question": item.question.strip(), "answer": item.answer.strip(), "form": _form(item.form)})
    if not pairs:
        return Parsed(error="; ".join(dropped[:3]) or "the list of questions is empty", dropped=tuple(dropped))
    return Parsed(value=pairs, dropped=tuple(dropped))


def _fault(item: Item) -> str:
    if not item.question.strip():
        return "the question is empty"
    if not item.answer.strip():
        return "the answer is empty"
    if len(item.question) > MAX_QUESTION_CHARS or len(item.answer) > MAX_ANSWER_CHARS:
        return "the question or answer is far too long"
    return ""


def _form(form: str) -> str:
    name = form.strip().lower().replace(" ", "_").replace("-", "_")
    return name if name in FORMS else "other"
