"""Real texts in number: sentences and questions of the public data beside the project, each once, the same each time."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from common import ROOT

from etl.readers.mapping import MappedRecord
from etl.readers.reading import format_for, read_file
from etl.readers.record import ReadOptions
from udfs.text import normal_hash, sentences

DATA = ROOT.parent / "shared" / "data"
BOOKS = ("en/biology/*.zst", "en/us_history/*.parquet", "en/economics/*.md")
QUESTIONS = ("bench/gsm8k/*.jsonl", "labelled/*.jsonl")
# Shorter ones are headings and crumbs.
MIN_WORDS = 4


def paragraphs() -> Iterator[str]:
    """The paragraphs of three textbooks, without their headings."""
    for text in _texts(BOOKS, ReadOptions(markup="markdown")):
        yield from (part for part in text.split("\n\n") if len(part.split()) >= 4 * MIN_WORDS)


def short_texts() -> Iterator[str]:
    """Sentences of the textbooks, exam questions with their choices, and answers in talk."""
    for text in _texts(BOOKS, ReadOptions(markup="markdown")):
        yield from sentences(text)
    yield from _texts(QUESTIONS, ReadOptions(fields={"text": "question"}))
    yield from _exam_cells()
    yield from _responses()


def distinct(texts: Iterator[str], count: int) -> list[str]:
    """The first `count` texts that are long enough and differ in their normal form. Raises SystemExit when there are fewer."""
    found: dict[str, str] = {}
    for text in texts:
        if len(text.split()) >= MIN_WORDS:
            found.setdefault(normal_hash(text), " ".join(text.split()))
        if len(found) == count:
            return list(found.values())
    raise SystemExit(f"{DATA} has {len(found)} such texts, {count} are needed: --rows {len(found)}")


def _texts(patterns: tuple[str, ...], options: ReadOptions) -> Iterator[str]:
    for path in (path for pattern in patterns for path in sorted(DATA.glob(pattern))):
        for record in read_file(str(path), format_for(str(path), "auto"), options):
            if isinstance(record, MappedRecord):
                yield record.text


def _exam_cells() -> Iterator[str]:
    for path in sorted((DATA / "bench" / "mmlu").rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                yield f"{row[0]} {' '.join(row[1:5])}"
                yield from row[:5]


def _responses() -> Iterator[str]:
    for path in sorted((DATA / "diversity").rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield from (row[name] for name in row if name.startswith(("resp", "context")) and row[name])


def chinese_questions() -> list[tuple[str, str]]:
    """The questions of CMRC 2018, each with what tells that two are the same: their context and answers."""
    found: list[tuple[str, str]] = []
    for path in sorted((DATA / "zh" / "cmrc2018").glob("*.json")):
        for context in json.loads(path.read_text("utf-8")):
            of = context["context_id"]
            found += [(asked["query_text"], f"{of}:{min(asked['answers'])}") for asked in context["qas"]]
    return found


def data_is_there() -> Path:
    """Returns the folder. Raises SystemExit when it is not there: the data is no part of the project."""
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not there: this bench runs on public data that is no part of the project")
    return DATA
