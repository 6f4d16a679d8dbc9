"""Rules that a finished question must pass: it stands alone, has an answer, is in the language asked for, leaks no prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from udfs.text import is_unspaced

_WRITTEN = r"(?:text|passage|article|paragraph|excerpt|document)"
_POINTS_OUTSIDE = re.compile(
    # Light has a source and heat flows in a material: these two point outside only after a verb that quotes.
    rf"\b(?:according to|based on|as (?:stated|described|mentioned) in) (?:the|this) (?:\w+ )?(?:source|material|{_WRITTEN})\b"
    rf"|\b(?:in|from|by) (?:the|this) (?:above |given |following |provided )?{_WRITTEN}\b"
    rf"|\b(?:the|this) (?:above|given|following|provided) {_WRITTEN}\b|上文|上述|本文|原文|这段(?:文字|话)"
    # A pointer only after such a verb: materials are a subject of their own, and 中文中 means "in Chinese".
    r"|(?:根据|依据|按照|结合|阅读)(?:以上|以下|所给)?材料|(?<![中英法德俄日外古])文中",
    re.IGNORECASE,
)
_LEAKS = re.compile(
    r"</?source>|Number of questions:|Reply with one JSON object|Task: (?:multi_grade|high_difficulty|refine)",
    re.IGNORECASE,
)
_OPTION = re.compile(r"(?:^|\n)\s*([A-H])\s*[.．、):：)]", re.MULTILINE)
_FINAL_LETTER = re.compile(r"(?i:final answer|answer|答案)\W*(?i:is|是|为)?\W*(?:\\boxed\{)?\s*([A-H])\b")


def first_fault(row: Mapping[str, Any]) -> str | None:
    """Returns the first rule that a row breaks, or None. Row: question, answer, form, lang."""
    question, answer = str(row["question"] or ""), str(row["answer"] or "")
    if not question.strip() or not answer.strip():
        return "no_answer_v1"
    if _LEAKS.search(question) or _LEAKS.search(answer):
        return "prompt_leak_v1"
    if _POINTS_OUTSIDE.search(question):
        return "points_outside_v1"
    if row["lang"] in ("en", "zh") and (row["lang"] == "zh") != is_unspaced(question):
        return "wrong_language_v1"
    if row["form"] == "multiple_choice":
        return option_fault(question, answer)
    return None


def option_fault(question: str, answer: str) -> str | None:
    """Tells what is wrong with a multiple choice question: too few options, or a final letter that names none of them."""
    options = set(_OPTION.findall(question))
    if len(options) < 2:
        return "too_few_options_v1"
    letters = {letter.upper() for letter in _FINAL_LETTER.findall(answer)}
    if len(letters) != 1 or not letters <= options:
        return "no_single_letter_v1"
    return None


def check_quality(row: Mapping[str, Any]) -> float:
    """Returns a quality from 0 to 1, our own formula: the seed's quality, the length of question and answer, and the refiner's verdict, in equal parts."""
    question, answer = len(str(row["question"] or "")), len(str(row["answer"] or ""))
    lengths = min(question / 60, 1.0) * 0.5 + min(answer / 120, 1.0) * 0.5
    verdict = {"ok": 1.0, "fixed": 0.8}.get(str(row["verdict"]), 0.0)
    seed = float(row["seed_quality"] if row["seed_quality"] is not None else 0.5)
    return (seed + lengths + verdict) / 3
