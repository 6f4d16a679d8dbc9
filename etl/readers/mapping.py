"""From a file's own fields to ours: one record schema at the door, where heterogeneity ends.

`fields` gives for each of our names (`text`, `question`, `answer`, `id`, `title`, `lang`) where it stands in the record: a key, a dotted path with list
indexes (`answers.text.0`), or, for `text`, several paths whose values are joined by blank lines. Any further name goes into `meta` under that name.
Without `fields` a record's own `text`, `question`, `answer`, `id`, `title` and `lang` are used, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, time
from decimal import Decimal
from itertools import islice
from typing import Any

from etl.readers.json_lines import json_type
from etl.readers.record import BadRecord, Record, raw_of

NAMES = ("text", "question", "answer", "id", "title", "lang")
META_ENTRIES = 50
META_CHARS = 1_000

Fields = Mapping[str, str | tuple[str, ...]]

_OWN_NAMES: Fields = {name: name for name in NAMES}
_SCALARS = (int, float, Decimal, date, time)


@dataclass(frozen=True, slots=True)
class MappedRecord:
    """A record in our names. `kind` is `qa` where a question is there, else `passage`; strings that are not there are empty.

    For `qa` without a text of its own, `text` is the question, a blank line and the answer. `meta` has the file's other small scalar values as strings.
    """

    position: str
    kind: str
    text: str
    question: str = ""
    answer: str = ""
    own_id: str = ""
    title: str = ""
    lang: str = ""
    meta: dict[str, str] = field(default_factory=dict)


class _Unmappable(Exception):
    def __init__(self, reason: str, error: str) -> None:
        super().__init__(error)
        self.reason = reason


def unnest(record: Record, path: str) -> Iterator[Record | BadRecord]:
    """The records of the list at a dotted path inside a record, or the record itself for an empty path.

    Each gets the key `parent`: the object that held the list, without it (a key of that name of its own gives way). Lists on the way to the last one
    are walked through too, and each object on the way has its own `parent`.
    """
    if not path:
        yield record
        return
    name, _, rest = path.partition(".")
    value = record.data.get(name)
    if value is None:
        yield BadRecord(record.position, "missing_field", f"records: '{name}' is absent or null", raw_of(record.data))
        return
    if not isinstance(value, (list, dict)):
        yield BadRecord(
            record.position, "wrong_type", f"records: '{name}' is {json_type(value)}, not a list", raw_of(record.data)
        )
        return
    parent = {key: other for key, other in record.data.items() if key != name}
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        position = f"{record.position}.{index}" if isinstance(value, list) else record.position
        if isinstance(item, dict):
            yield from unnest(Record(position, {**item, "parent": parent}), rest)
        else:
            yield BadRecord(
                position,
                "wrong_type",
                f"records: an item of '{name}' is {json_type(item)}, not an object",
                raw_of(str(item)),
            )


def map_record(data: Mapping[str, Any], fields: Fields, position: str, max_text_bytes: int) -> MappedRecord | BadRecord:
    """A parsed record in our names, or the bad record that says which field is at fault.

    Reasons: missing_field, wrong_type (texts must be strings; numbers will do for answer, id, title and lang), empty_text, bad_encoding (NUL or half a
    surrogate pair in a mapped text), too_large (question, answer and text together over `max_text_bytes` in UTF-8).
    """
    try:
        mapped = _mapped(data, fields or _OWN_NAMES, position)
        _check_size(mapped, max_text_bytes)
    except _Unmappable as error:
        return BadRecord(position, error.reason, str(error), raw_of(data))
    return replace(mapped, meta=_meta(data, fields or _OWN_NAMES))


def _mapped(data: Mapping[str, Any], fields: Fields, position: str) -> MappedRecord:
    own_id, title, lang = (_label(data, fields, name) for name in ("id", "title", "lang"))
    asked = "question" in fields and _value(data, fields["question"]) is not None
    has_text = "text" in fields and any(_value(data, path) is not None for path in _paths(fields["text"]))
    if asked:
        question, answer = _text(data, fields, "question"), _answer(data, fields)
        text = _text(data, fields, "text") if has_text else f"{question}\n\n{answer}"
        return MappedRecord(position, "qa", text, question, answer, own_id, title, lang)
    if "text" not in fields or (not has_text and "question" in fields and fields is not _OWN_NAMES):
        raise _Unmappable(
            "missing_field",
            _missing("question", fields) if "question" in fields else "neither text nor question is mapped",
        )
    return MappedRecord(position, "passage", _text(data, fields, "text"), own_id=own_id, title=title, lang=lang)


def _text(data: Mapping[str, Any], fields: Fields, name: str) -> str:
    parts = []
    for path in _paths(fields[name]):
        value = _decoded(_value(data, path), path)
        if value is not None and not isinstance(value, str):
            raise _Unmappable("wrong_type", f"'{path}' ({name}) must be a string and is {json_type(value)}")
        parts += [_clean(value, path)] if value is not None else []
    if not parts:
        raise _Unmappable("missing_field", _missing(name, fields))
    text = "\n\n".join(part for part in parts if part.strip())
    if not text:
        raise _Unmappable("empty_text", f"'{_shown(fields[name])}' ({name}) is empty")
    return text


def _answer(data: Mapping[str, Any], fields: Fields) -> str:
    if "answer" not in fields:
        raise _Unmappable("missing_field", "a question needs an answer: map `answer`, or map the question as `text`")
    path = _paths(fields["answer"])[0]
    value = _value(data, path)
    return str(value) if _is_number(value) else _text(data, fields, "answer")


def _label(data: Mapping[str, Any], fields: Fields, name: str) -> str:
    if name not in fields:
        return ""
    path = _paths(fields[name])[0]
    value = _decoded(_value(data, path), path)
    if value is None:
        return ""
    if not isinstance(value, (str, *_SCALARS)) or isinstance(value, bool):
        raise _Unmappable("wrong_type", f"'{path}' ({name}) must be a string or a number and is {json_type(value)}")
    return _clean(str(value), path).strip()


def _meta(data: Mapping[str, Any], fields: Fields) -> dict[str, str]:
    used = {path for name in fields if name in NAMES for path in _paths(fields[name])}
    named = {name: _value(data, path) for name, path in fields.items() if name not in NAMES}
    values = {**{key: value for key, value in data.items() if key not in used}, **named}
    shown = ((str(key), _shown_value(value)) for key, value in values.items() if isinstance(value, (str, *_SCALARS)))
    small = ((key, value) for key, value in shown if len(key) <= META_CHARS and len(value) <= META_CHARS)
    return {_replaced(key): _replaced(value) for key, value in islice(small, META_ENTRIES)}


def _value(data: Any, path: str | tuple[str, ...]) -> Any:
    """What stands at a path, None where nothing does. A key that has dots in it is found as it is written."""
    found: Any = data
    rest = _paths(path)[0]
    while rest:
        if isinstance(found, Mapping) and rest in found:
            return found[rest]
        name, _, rest = rest.partition(".")
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, (list, tuple)) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def _paths(path: str | tuple[str, ...]) -> tuple[str, ...]:
    return (path,) if isinstance(path, str) else tuple(path)


def _decoded(value: Any, path: str) -> Any:
    # Old Parquet writers store strings as bytes without saying that they are text.
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Unmappable("bad_encoding", f"'{path}' has bytes that are not UTF-8 at {error.start}") from None


def _clean(text: str, path: str) -> str:
    if "\0" in text:
        raise _Unmappable("bad_encoding", f"'{path}' has a NUL character at {text.index(chr(0))}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Unmappable("bad_encoding", f"'{path}' has half a surrogate pair at {error.start}") from None
    return text


def _check_size(mapped: MappedRecord, limit: int) -> None:
    size = sum(len(text.encode("utf-8")) for text in {mapped.text, mapped.question, mapped.answer})
    if size > limit:
        raise _Unmappable("too_large", f"texts of {size} bytes are over max_record_bytes ({limit})")


def _missing(name: str, fields: Fields) -> str:
    path = _shown(fields[name])
    return f"'{path}' is absent or null" if path == name else f"'{path}' ({name}) is absent or null"


def _shown(path: str | tuple[str, ...]) -> str:
    return ", ".join(_paths(path))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _shown_value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _replaced(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "�")
