"""Markdown: a file is one record with `text` and `title`; the front matter is taken off the text and gives the title, else the first heading does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from etl.readers.plain_text import whole_text
from etl.readers.record import BadRecord, ByteStream, ReadOptions, Record

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.{0,65536}?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$|^(\S.*)\n=+[ \t]*$", re.MULTILINE)


def read_markdown(stream: ByteStream, options: ReadOptions) -> Iterator[Record | BadRecord]:
    """The file as one record, or one bad record."""
    text = whole_text(stream, options)
    if isinstance(text, BadRecord):
        yield text
        return
    front, body = _front_matter(text)
    title = front.get("title")
    yield Record("0", {"text": body.strip("\n"), "title": str(title) if title is not None else _heading(body)})


def without_front_matter(text: str) -> str:
    """The text without the YAML block at its head, if it has one."""
    return _front_matter(text)[1]


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The YAML block at the head of the text and what follows it; a block that is no YAML mapping is text like any other."""
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    try:
        front = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}, text
    if front is None:
        return {}, text[found.end() :]
    return (front, text[found.end() :]) if isinstance(front, dict) else ({}, text)


def _heading(body: str) -> str:
    # A line of code that begins with # is no heading.
    found = _HEADING.search(_FENCED.sub("", body))
    return (found[1] or found[2]).strip() if found else ""
