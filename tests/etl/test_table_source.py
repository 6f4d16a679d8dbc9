"""Rows of a Delta table as records: mapped like those of files, each under a position that hangs on the row alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from etl.config import SourceConfig
from etl.readers.documents import SourceSettings
from etl.readers.mapping import MappedRecord
from etl.readers.record import BadRecord
from etl.sources import source_settings
from etl.table_source import entries_of, entry_batch, table_entries
from tests.etl.tiny import make_config, source

OWN = {"text": "body", "id": "uid"}
Row = dict[str, Any]
some_rows = st.lists(
    st.fixed_dictionaries({"uid": st.integers(0, 3), "body": st.sampled_from([None, "", "One.", "One ."])}),
    unique_by=lambda row: (row["uid"], row["body"]),
)


def settings(max_record_bytes: int = 1000, **more: Any) -> SourceSettings:
    config = make_config("warehouse", ingest={"max_record_bytes": max_record_bytes})
    return source_settings(config, SourceConfig(**source("table", "main.raw.books", format="delta", **more)))


PLAIN = settings(fields=OWN)


def batch(rows: list[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, pa.schema([("uid", pa.int64()), ("body", pa.string())]))


def entries(rows: list[Row], how: SourceSettings = PLAIN) -> list[MappedRecord | BadRecord]:
    return list(table_entries(batch(rows), how))


def test_columns_are_mapped_as_the_fields_of_files_are() -> None:
    rows = [{"q": {"text": "Why?", "hints": ["a"]}, "reply": 42, "uid": 7, "day": date(2030, 1, 2)}]
    fields = {"question": "q.text", "answer": "reply", "id": "uid"}
    (made,) = table_entries(pa.RecordBatch.from_pylist(rows), settings(fields=fields))
    assert isinstance(made, MappedRecord)
    assert (made.kind, made.text, made.own_id) == ("qa", "Why?\n\n42", "7")
    assert made.meta["day"] == "2030-01-02"


def test_without_fields_a_table_is_read_by_our_own_names() -> None:
    (made,) = table_entries(pa.RecordBatch.from_pylist([{"id": "a", "text": "One.", "title": "T"}]), settings())
    assert isinstance(made, MappedRecord)
    assert (made.text, made.own_id, made.title) == ("One.", "a", "T")


def test_a_row_that_can_not_be_mapped_has_its_reason_and_stops_no_other() -> None:
    rows = [{"uid": 1, "body": None}, {"uid": 2, "body": " "}, {"uid": 3, "body": "x" * 31}, {"uid": 4, "body": "One."}]
    *bad, good = entries(rows, settings(30, fields=OWN))
    assert [entry.reason for entry in bad if isinstance(entry, BadRecord)] == [
        "missing_field",
        "empty_text",
        "too_large",
    ]
    assert isinstance(good, MappedRecord)


def test_markup_is_taken_off_as_it_is_for_files() -> None:
    rows = [{"uid": 1, "body": "<p>One <b>fact</b>.</p>"}, {"uid": 2, "body": "<p></p>"}]
    plain, nothing = entries(rows, settings(fields=OWN, markup="html"))
    assert isinstance(plain, MappedRecord)
    assert plain.text == "One fact."
    assert isinstance(nothing, BadRecord)
    assert nothing.reason == "empty_text"


def test_equal_bad_rows_have_positions_of_their_own() -> None:
    found = entries([{"uid": 1, "body": None}] * 3 + [{"uid": 1, "body": "One."}], settings(fields=OWN))
    told = list(entries_of([entry_batch(found[:2]), entry_batch(found[2:])]))
    assert len({entry.position for entry in told}) == 4
    assert [replace(entry, position="") for entry in told] == [replace(entry, position="") for entry in found]


def test_records_go_through_spark_as_they_are() -> None:
    made = MappedRecord(
        "p", "qa", "Why?\n\nSo.", "Why?", "So.", own_id="7", title="T", lang="en", meta={"day": "Monday"}
    )
    assert list(entries_of([entry_batch([made])])) == [made]


def test_records_are_told_apart_by_their_id_or_else_by_what_the_cleaned_text_says() -> None:
    marked, plain = {"uid": None, "body": "<p>One</p>"}, {"uid": None, "body": "One"}
    keys = entry_batch(entries([marked, plain], settings(fields={"text": "body"}, markup="html"))).column("key")
    assert len(set(keys.to_pylist())) == 1
    keys = entry_batch(entries([{"uid": 7, "body": "One"}, {"uid": 7, "body": "Two"}])).column("key")
    assert keys.to_pylist() == ["7", "7"]


@given(some_rows, st.integers(0, 9), st.randoms(use_true_random=False))
def test_positions_tell_rows_apart_and_hang_on_no_batch_or_order(rows: list[Row], cut: int, random: Any) -> None:
    known = {(row["uid"], row["body"]): entry.position for row, entry in zip(rows, entries(rows), strict=True)}
    assert len(set(known.values())) == len(rows)
    mixed = random.sample(rows, len(rows))
    parts = [*table_entries(batch(mixed[:cut]), PLAIN), *table_entries(batch(mixed[cut:]), PLAIN)]
    assert [entry.position for entry in parts] == [known[row["uid"], row["body"]] for row in mixed]


def test_the_order_of_the_columns_does_not_matter() -> None:
    turned = pa.RecordBatch.from_pydict({"body": ["One."], "uid": [1]})
    assert list(table_entries(turned, PLAIN)) == entries([{"uid": 1, "body": "One."}])
