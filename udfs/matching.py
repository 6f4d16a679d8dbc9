"""Does a given answer say what the reference says? Exact match after normalisation, by letter, number or containment."""

from __future__ import annotations

import re

from udfs.text import normalise

_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?")
_FINAL = re.compile(r"(?:final answer|answer|答案)\s*(?:is|是|为)?\s*[:：]?\s*(.+)", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


def final_part(answer: str) -> str:
    """Returns what stands in the last \\boxed{...}, else behind the last "Final answer:", else the whole answer."""
    boxed = _BOXED.findall(answer)
    if boxed:
        return str(boxed[-1]).strip()
    found = _FINAL.findall(answer)
    return str(found[-1]).strip() if found else answer.strip()


def answers_match(given: str, reference: str) -> bool:
    """Tells whether two answers agree: equal after normalisation, the same number, or one contained in the other as whole words."""
    a, b = normalise(final_part(given)).strip(" ."), normalise(final_part(reference)).strip(" .")
    if not a or not b:
        return False
    if a == b:
        return True
    numbers_a, numbers_b = _NUMBER.findall(a), _NUMBER.findall(b)
    if numbers_a and numbers_b:
        return bool(numbers_a[-1].replace(",", "") == numbers_b[-1].replace(",", ""))
    short, long = sorted((a, b), key=len)
    return re.search(rf"(?<!\w){re.escape(short)}(?!\w)", long) is not None
