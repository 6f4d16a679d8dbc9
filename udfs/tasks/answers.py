"""Finds and checks the JSON in a model's answer. Nothing here raises on any string."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from udfs.engines.wire import clean_text, split_reasoning

Model = TypeVar("Model", bound=BaseModel)

FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)```", re.DOTALL)
BRACKET = re.compile(r"[{\[]")
ESCAPED = re.compile(r"\\.", re.DOTALL)
MAX_CANDIDATES = 20
MAX_REPAIR_CHARS = 100_000  # repair is slow Python; an answer this long is broken in other ways too
ERROR_BOUND = 300

# A model that writes one backslash where JSON wants two turns \frac into a form feed and "rac", and \theta into a tab
# and "heta". \b and \f are no characters of prose, so they always begin a command; \n, \r and \t only do in these
# words.
COMMANDS = (
    "nabla|natural|ne|nearrow|neg|neq|newline|nexists|nmid|nolimits|nonumber|not|notin|nparallel|nsubseteq|nu|"
    "rangle|rbrace|rceil|rfloor|rho|right|rightarrow|rightleftharpoons|rm|root|"
    "tan|tanh|tau|text|textbf|textit|textrm|tfrac|therefore|theta|times|tilde|to|top|triangle|triangleq"
)
SINGLE = r"(?<!\\)((?:\\\\)*)\\"
NO_ESCAPE = r"[^\"\\/bfnrtu]|[bf][A-Za-z]|u(?![0-9a-fA-F]{4})"
SURE_COMMAND = re.compile(f"{SINGLE}(?={NO_ESCAPE})")
LIKELY_COMMAND = re.compile(f"{SINGLE}(?={NO_ESCAPE}|(?:{COMMANDS})(?![A-Za-z]))")
CAREFUL = re.compile(r"(?<!\\)\\\\[A-Za-z(\[{]")


def read_answer(text: str, model: type[Model]) -> tuple[Model | None, str]:
    """Reads the last JSON value of `text` that fits `model`, mended where needed. Returns (value, "") or (None,
    reason).
    """
    body = split_reasoning(clean_text(text))[1]
    if not body:
        return None, "the answer is empty"
    problems = []
    for candidate in _candidates(body):
        value, problem = _fit(candidate, model)
        if value is not None:
            return value, ""
        problems.append(problem)
    if problems:
        return None, problems[0]
    return None, "the JSON is broken or cut" if BRACKET.search(body) else "there is no JSON in the answer"


def _candidates(body: str) -> Iterator[Any]:
    """Yields the values that the text may mean, the likeliest first."""
    blocks = [block.strip() for block in FENCE.findall(body)][-MAX_CANDIDATES:]
    for block in [*reversed(blocks), body]:
        yield from reversed(list(_strict_values(mend_backslashes(block))))
    for block in [*reversed(blocks), body]:
        repaired = _repair(block)
        if repaired is not None:
            yield repaired


def _strict_values(text: str) -> Iterator[Any]:
    """Yields the JSON objects and lists that stand in the text, from left to right.

    Parts of a value that is itself broken are left out: one good pair must not pass for the whole list.
    """
    decoder = json.JSONDecoder(strict=False)
    position, prose_from, prose = 0, 0, ""
    for _ in range(MAX_CANDIDATES):
        start = _first_bracket(text, position)
        if start < 0:
            return
        try:
            value, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            position = start + 1
            continue
        prose += text[prose_from:start]
        prose_from = position
        if prose.count("{") == prose.count("}") and prose.count("[") == prose.count("]"):
            yield value


def _repair(text: str) -> Any | None:
    """Mends nearly-JSON by the library. None where there is none, where it is cut, or where it is too long."""
    start, end = _first_bracket(text, 0), max(text.rfind("}"), text.rfind("]")) + 1
    if start < 0 or end <= start or end - start > MAX_REPAIR_CHARS:
        return None
    # A half sentence closed by the library would look like an answer.
    if ESCAPED.sub("", text[start:]).count('"') % 2 or any(mark in text[end:] for mark in '{["'):
        return None
    from json_repair import repair_json

    try:
        value = repair_json(mend_backslashes(text[start:end]), return_objects=True)
    except (ValueError, RecursionError, IndexError, KeyError, TypeError, AttributeError):
        return None
    return value if isinstance(value, dict | list) else None


def _first_bracket(text: str, position: int) -> int:
    found = BRACKET.search(text, position)
    return found.start() if found else -1


def mend_backslashes(text: str) -> str:
    r"""Doubles the backslashes of LaTeX commands that a model wrote singly inside JSON, so that \frac stays \frac.

    In an answer that doubles them elsewhere, \nu and \to are taken for a line break or tab and a word.
    """
    if "\\" not in text:
        return text
    pattern = SURE_COMMAND if CAREFUL.search(text) else LIKELY_COMMAND
    return pattern.sub(r"\1\\\\", text)


def _fit(candidate: Any, model: type[Model]) -> tuple[Model | None, str]:
    try:
        return model.model_validate(_clean(candidate)), ""
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return None, f"{place or 'the answer'}: {first['msg']}"[:ERROR_BOUND]
    except RecursionError:
        return None, "the answer is nested too deeply"


def _clean(value: Any) -> Any:
    """Lone surrogates come back through JSON's \\ud800 escapes."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(name): _clean(item) for name, item in value.items()}
    return value
