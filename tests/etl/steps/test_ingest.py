"""ingest: what is new or changed is read, once; ids follow from what a record says and not from where or in which order it was read."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.errors import UserError
from etl.step import Outcome
from tests.etl.tiny import delta_versions, get, job_for, make_config, source, the_step, write_jsonl

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.tables import Tables

FIELDS = {"text": "body", "id": "uid"}
Ingest = Callable[..., Outcome]


def record(name: str, words: str = "is a fact about rivers that is worth knowing") -> dict[str, Any]:
    return {"uid": name, "body": f"Record {name} {words}."}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_jsonl(tmp_path / f"corpus/{name}.jsonl", [record(f"{name}-{i}") for i in range(4)])
    return tmp_path / "corpus"


@pytest.fixture
def ingest(spark: SparkSession, tmp_path: Path) -> Ingest:
    """Runs ingest on a folder into a warehouse."""

    def run(folder: Path, warehouse: str = "warehouse", **more: Any) -> tuple[Outcome, Tables]:
        given = {"format": "jsonl", "fields": FIELDS, **more}
        config = make_config(tmp_path / warehouse, sources=[source("rivers", folder, **given)])
        job = job_for(spark, config)
        outcome = the_step("ingest").run(job)
        outcome.check("ingest")
        return outcome, job.tables

    return run


def rewrite(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes a file anew, certainly with another time."""
    stat = path.stat() if path.exists() else None
    write_jsonl(path, rows)
    if stat is not None:
        os.utime(path, (stat.st_atime, stat.st_mtime + 10))


def ids(tables: Tables) -> dict[str, str]:
    return {text.split()[1]: doc_id for doc_id, text in get(tables, "documents", "doc_id", "text")}


def test_files_that_have_not_changed_are_not_read_again(ingest: Any, corpus: Path) -> None:
    first, tables = ingest(corpus)
    assert (first.rows_in, first.rows_out, first.figures["files"]) == (8, 8, 2)
    before = delta_versions(tables)
    again, _ = ingest(corpus)
    assert again.rows_in == 0
    assert delta_versions(tables) == before


@pytest.mark.long
def test_a_changed_file_replaces_its_rows_and_leaves_the_others(ingest: Any, corpus: Path) -> None:
    _, tables = ingest(corpus)
    before = ids(tables)
    rewrite(corpus / "a.jsonl", [record("a-0"), record("a-1", "now says another thing about rivers"), record("a-9")])
    outcome, tables = ingest(corpus)
    assert (outcome.rows_in, outcome.figures["files"]) == (3, 1)
    after = ids(tables)
    assert set(after) == {"a-0", "a-1", "a-9", "b-0", "b-1", "b-2", "b-3"}
    assert {name: after[name] for name in after if name in before} == {n: before[n] for n in before if n in after}
    changed = [text for _, text in get(tables, "documents", "doc_id", "text") if "another thing" in text]
    assert len(changed) == 1


@pytest.mark.long
def test_a_new_file_is_added_and_a_file_that_comes_back_has_its_old_ids(
    ingest: Any, corpus: Path, tmp_path: Path
) -> None:
    _, tables = ingest(corpus)
    before = ids(tables)
    shutil.move(corpus / "b.jsonl", tmp_path / "b.jsonl")
    write_jsonl(corpus / "c.jsonl", [record("c-0")])
    outcome, tables = ingest(corpus)
    assert outcome.figures["files"] == 1
    assert ids(tables)["c-0"] not in before.values()
    shutil.move(tmp_path / "b.jsonl", corpus / "b.jsonl")
    os.utime(corpus / "b.jsonl", (1, 1))
    _, tables = ingest(corpus)
    after = ids(tables)
    assert {name: after[name] for name in before} == before
    assert len(get(tables, "documents", "doc_id")) == 9


def test_ids_do_not_hang_on_the_order_or_the_place_of_the_records(ingest: Any, corpus: Path, tmp_path: Path) -> None:
    # Equal records without an id of their own, too: they are told apart by number.
    twins = [{"body": "The same words stand here twice."}] * 2
    write_jsonl(corpus / "c.jsonl", [record("c-0"), *twins, record("c-1")])
    _, here = ingest(corpus)
    elsewhere = tmp_path / "elsewhere" / "deep"
    for path in sorted(corpus.iterdir(), reverse=True):
        lines = path.read_text("utf-8").splitlines()
        random.Random(1).shuffle(lines)
        elsewhere.mkdir(parents=True, exist_ok=True)
        (elsewhere / path.name).write_text("\n".join(lines) + "\n", "utf-8")
    _, there = ingest(f"{elsewhere}/*.jsonl", "other")
    assert get(here, "documents", "doc_id", "text") == get(there, "documents", "doc_id", "text")
    assert len(get(here, "documents", "doc_id")) == 12


@pytest.mark.long
def test_a_corpus_that_has_moved_does_not_stand_in_the_table_twice(ingest: Any, corpus: Path, tmp_path: Path) -> None:
    _, tables = ingest(corpus)
    before = get(tables, "documents", "doc_id")
    shutil.move(corpus, tmp_path / "moved")
    _, tables = ingest(tmp_path / "moved")
    assert get(tables, "documents", "doc_id") == before


def test_any_file_name_is_read(ingest: Any, tmp_path: Path) -> None:
    names = ["with space.jsonl", "100%25 done.jsonl", "河流.jsonl", "a#b?c.jsonl", "brackets[1].jsonl"]
    for number, name in enumerate(names):
        write_jsonl(tmp_path / "odd" / name, [record(f"odd-{number}")])
    outcome, tables = ingest(tmp_path / "odd")
    assert outcome.rows_out == len(names)
    assert sorted(ids(tables)) == [f"odd-{number}" for number in range(len(names))]


@pytest.mark.long
def test_other_settings_read_the_files_anew(ingest: Any, corpus: Path) -> None:
    ingest(corpus)
    outcome, tables = ingest(corpus, license="CC-BY-4.0")
    assert outcome.rows_out == 8
    assert set(get(tables, "documents", "license")) == {"CC-BY-4.0"}


@pytest.mark.long
def test_a_broken_record_is_replaced_too_when_its_file_is_mended(ingest: Any, corpus: Path) -> None:
    (corpus / "a.jsonl").write_text('{"uid": "a-0", "body": "Cut in the mid\n{"uid": "a-1", "body": 3}\n')
    outcome, tables = ingest(corpus)
    assert outcome.dropped == {"bad_json": 1, "wrong_type": 1}
    rewrite(corpus / "a.jsonl", [record("a-0")])
    _, tables = ingest(corpus)
    assert get(tables, "quarantine", "uri") == []


@pytest.mark.long
def test_files_that_are_gone_are_told_and_their_passages_stay(spark: SparkSession, corpus: Path) -> None:
    said: list[str] = []

    def ingest_from(*names: str) -> tuple[float, int]:
        sources = [source(name, corpus / f"{name}*.jsonl", format="jsonl", fields=FIELDS) for name in names]
        job = replace(job_for(spark, make_config(corpus.parent / "w", sources=sources)), say=said.append)
        outcome = the_step("ingest").run(job)
        return outcome.figures["files_gone"], job.tables.read("documents").count()

    assert ingest_from("a", "b") == (0, 8)
    write_jsonl(corpus / "b2.jsonl", [record("b2-0")])
    (corpus / "b.jsonl").unlink()
    assert ingest_from("a", "b") == (1, 9)
    assert said[-1] == "b: 1 files are no longer there; their 4 passages stay in `documents`"
    assert ingest_from("a") == (2, 9)
    assert said[-1] == "b: 2 files are of a source that the config does not name; their 5 passages stay in `documents`"


@pytest.mark.long
def test_rows_of_a_delta_table_are_numbered_by_what_they_say(spark: SparkSession, ingest: Any, tmp_path: Path) -> None:
    rows = [({"uid": "1"}, "<p>One</p>", {"a": "b"}), ({"uid": "1"}, "<b>One</b>", None), ({"uid": None}, "One", None)]
    rows += [({"uid": None}, "<i>One</i>", None), ({"uid": "2"}, None, None), ({"uid": "2"}, None, None)]
    ddl = "key struct<uid:string>, body string, more map<string,string>"
    found = []
    for number, order in enumerate((rows, rows[::-1])):
        table = tmp_path / f"table-{number}" / "books"
        # A file for each row: none of them lies in one task with another by chance.
        spark.createDataFrame(order, ddl).repartition(len(rows)).write.format("delta").save(str(table))
        fields = {"text": "body", "id": "key.uid"}
        outcome, tables = ingest(table, f"w{number}", format="delta", fields=fields, markup="html")
        assert outcome.dropped == {"missing_field": 2}
        assert len(set(get(tables, "quarantine", "position"))) == 2
        found.append(get(tables, "documents", "doc_id", "text"))
    assert found[0] == found[1]
    assert len(dict(found[0])) == 4


@pytest.mark.long
def test_an_empty_delta_table_is_a_source_without_rows(spark: SparkSession, ingest: Any, tmp_path: Path) -> None:
    spark.createDataFrame([], "uid string, body string").write.format("delta").save(str(tmp_path / "empty"))
    outcome, _ = ingest(tmp_path / "empty", format="delta")
    assert (outcome.rows_in, outcome.figures["files"]) == (0, 1)


@pytest.mark.parametrize("path", ["nowhere", "nowhere/*.jsonl", "empty"])
def test_a_missing_path_is_an_error_that_names_the_source(ingest: Any, tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"sources\.rivers\.path") as missing:
        ingest(tmp_path / path)
    assert path in str(missing.value)
    assert "\n" not in str(missing.value)


def test_no_source_at_all_is_an_error(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sources is empty"):
        the_step("ingest").run(job_for(spark, make_config(tmp_path / "warehouse")))
