"""Named templates that make the exported `text` of a question and its answer."""

from __future__ import annotations

import re

from etl.errors import UserError

TEMPLATES = {
    "plain": "{question}\n\n{answer}",
    "labelled": "Question: {question}\n\nAnswer: {answer}",
}


def render_text(template: str, questions: list[str], answers: list[str]) -> list[str]:
    """Renders each question with its answer. Raises UserError for an unknown template name."""
    if template not in TEMPLATES:
        raise UserError(f"export.template: there is no template {template!r}; known are {', '.join(TEMPLATES)}")
    pattern = TEMPLATES[template]
    return [_fill(pattern, {"question": q, "answer": a}) for q, a in zip(questions, answers, strict=True)]


def _fill(pattern: str, values: dict[str, str]) -> str:
    # One pass, so that braces inside a question stay what they are.
    return re.sub(r"\{(question|answer)\}", lambda found: values[found[1]], pattern)
