"""`boostqa dedup|measure|decontaminate FILE`: every row of any data set comes out, with a verdict that holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import zstandard

from etl.cli import main
from tests.etl.processes import kill_session
from tests.etl.tiny import ROOT, write_jsonl

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PRICE = "Supply and demand set the price of a good."
BRIDGE = (
    "The old stone bridge over the river was built by Roman soldiers nearly two thousand years ago, and it still carries "
    "the market traffic of the town every morning except on Sundays."
)
ROWS: list[dict[str, Any]] = [
    {"n": 0, "body": PRICE},
    {"n": 1, "body": "The price of a good is set by supply and demand."},
    {"n": 2, "body": BRIDGE},
    {"n": 3, "body": BRIDGE.upper()},
    {"n": 4, "body": BRIDGE.replace("Sundays", "holidays")},
    {"n": 5, "body": "Mitochondria make most of the cell's ATP."},
    {"n": 6, "body": "勾股定理说明直角三角形斜边的平方等于两条直角边的平方之和。"},
    {"n": 7, "body": "ok"},
    {"n": 8, "text": "under another name"},
    {"n": 9, "body": None},
]


def read_in_order(folder: Path) -> list[dict[str, Any]]:
    """The rows that were written, as the files have them."""
    return [row for part in sorted(folder.glob("rows/part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def read(folder: Path) -> dict[int, dict[str, Any]]:
    """The rows that were written, by their own number; what is no JSON by its line."""
    rows = read_in_order(folder)
    return {json.loads(row["record"])["n"] if row["record"] else int(row["position"]): row for row in rows}


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows through `dedup`, once for all tests."""
    folder = tmp_path_factory.mktemp("data_set")
    with write_jsonl(folder / "rows.jsonl", ROWS).open("a") as file:
        file.write("not JSON\n")
    argv = ["dedup", str(folder / "rows.jsonl"), "--text-field", "body", "--out", str(folder / "out")]
    assert main([*argv, "--set", "dedup.audit_rows=20"]) == 0
    return folder


@pytest.mark.long
def test_every_row_comes_out_once_with_its_verdict(folder: Path) -> None:
    rows = read(folder / "out")
    assert len(rows) == len(ROWS) + 1
    verdicts = {
        name: {n for n, row in rows.items() if row["verdict"] == name} for name in ("kept", "removed", "unread")
    }
    assert verdicts["kept"] == {1, 4, 5, 6, 7}, "the longest of those that are alike"
    assert verdicts["removed"] == {0, 2, 3}
    assert {rows[n]["reason"] for n in verdicts["unread"]} == {"bad_json", "missing_field"}
    assert {row["text"] for row in rows.values() if row["verdict"] != "unread"} == {
        row["body"] for row in ROWS if row.get("body")
    }


@pytest.mark.long
def test_rows_come_in_their_order_with_all_their_fields(folder: Path) -> None:
    rows = read_in_order(folder / "out")
    assert [row["position"] for row in rows] == [str(line) for line in range(1, len(ROWS) + 2)]
    assert [json.loads(row["record"]) for row in rows[:-1]] == ROWS
    assert (rows[-1]["record"], rows[-1]["raw"]) == (None, "not JSON\n")
    assert {row["uri"] for row in rows} == {str(folder / "rows.jsonl")}


@pytest.mark.long
def test_a_removed_row_names_a_kept_one_a_score_and_a_reason(folder: Path) -> None:
    rows = read(folder / "out")
    kept = {row["id"] for row in rows.values() if row["verdict"] == "kept"}
    removed = {n: row for n, row in rows.items() if row["verdict"] == "removed"}
    assert all(row["kept_id"] in kept for row in removed.values())
    assert removed[0]["reason"] == "semantic_duplicate"
    assert 0.9 <= removed[0]["score"] < 1
    assert sorted(removed[n]["reason"] for n in removed if n) == ["exact_duplicate", "minhash_duplicate"]
    assert {row["kept_id"] for n, row in removed.items() if n} == {rows[4]["id"]}
    assert all(0.7 <= row["score"] < 1 for n, row in removed.items() if n), "what equals a row shares its fate"


@pytest.mark.long
def test_what_the_vector_could_not_judge_is_kept_and_says_so(folder: Path) -> None:
    rows = read(folder / "out")
    assert (rows[6]["verdict"], rows[6]["reason"]) == ("kept", "unknown_tokens")
    assert (rows[7]["verdict"], rows[7]["reason"]) == ("kept", None), "short rows are no rule's business here"


@pytest.mark.long
def test_the_manifest_counts_what_is_there(folder: Path) -> None:
    told = json.loads((folder / "out" / "manifest.json").read_text())
    assert told["rows"] == len(ROWS) + 1
    assert sum(told["counts"].values()) == 6
    assert told["figures"]["audit_recall"] == 1


@pytest.mark.long
def test_a_run_that_is_killed_is_run_again_to_the_same_rows(folder: Path, tmp_path: Path) -> None:
    """Killed when it has embedded, and again when it has begun to write."""
    out = tmp_path / "out"
    argv = ["dedup", str(folder / "rows.jsonl"), "--text-field", "body", "--out", str(out)]
    for begun in ("_boostqa/*/edges/_delta_log/*.json", "rows/part-*"):
        with (tmp_path / "log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "etl", *argv], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        while not list(out.glob(begun)):
            assert child.poll() is None, (tmp_path / "log").read_text("utf-8")
            time.sleep(0.02)
        kill_session(child.pid)
        child.wait()
        assert not (out / "manifest.json").exists()
    assert main(argv) == 0
    assert read(out) == read(folder / "out")


@pytest.mark.long
def test_another_threshold_embeds_nothing_again_and_replaces_the_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = folder / "rows.jsonl", folder / "out"
    argv = ["dedup", str(data), "--text-field", "body", "--out", str(out), "--out-format", "jsonl.zst"]
    assert main([*argv, "--set", "dedup.threshold=0.99"]) == 0
    assert re.search(r"embed +unchanged", capsys.readouterr().err)
    assert not list(out.glob("rows/*.parquet"))
    lines = [line for part in out.glob("rows/part-*") for line in zstandard.decompress(part.read_bytes()).splitlines()]
    rows = [json.loads(line) for line in lines]
    assert len(rows) == len(ROWS) + 1
    first = next(row for row in rows if row["text"] == PRICE)
    assert (first["verdict"], first["record"]) == ("kept", ROWS[0])


@pytest.mark.long
def test_a_file_that_has_grown_is_judged_as_a_new_one(spark: SparkSession, tmp_path: Path) -> None:
    longest = "The price of a good is always set by its supply and by its demand."
    rows = [*ROWS[:2], {"n": 2, "body": longest}]
    argv = ["dedup", str(tmp_path / "rows.jsonl"), "--text-field", "body", "--out", str(tmp_path / "out")]
    for count, kept in ((2, 1), (3, 2)):
        write_jsonl(tmp_path / "rows.jsonl", rows[:count])
        assert main([*argv, "--set", "dedup.threshold=0.85"]) == 0
        # The row that was removed at first is alike the longest one too.
        assert {n for n, row in read(tmp_path / "out").items() if row["verdict"] == "kept"} == {kept}


@pytest.mark.long
def test_measure_tells_how_diverse_a_data_set_is(spark: SparkSession, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [row for row in ROWS if row.get("body")])
    assert main(["measure", str(data), "--text-field", "body", "--out", str(tmp_path / "out")]) == 0
    (part,) = (tmp_path / "out").glob("rows/part-*.parquet")
    rows = {row["id"]: row for row in pq.read_table(part).to_pylist()}
    assert {"vendi", "distinct_1"} <= {name.split("@")[0] for name in rows} or len(rows) > 5
    assert all(row["n"] == 7 for row in rows.values()), "the Chinese row has no readable vector"


@pytest.mark.long
def test_decontaminate_names_the_item_that_a_row_shares_words_with(spark: SparkSession, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [{"body": f"As the guide says: {BRIDGE}"}, {"body": PRICE}])
    exam = write_jsonl(tmp_path / "exam.jsonl", [{"question": "What is a price?"}, {"question": BRIDGE}])
    argv = ["decontaminate", str(data), "--text-field", "body", "--out", str(tmp_path / "out")]
    assert main([*argv, "--against", str(exam), "--against-field", "question"]) == 0
    parts = (tmp_path / "out").glob("rows/part-*.parquet")
    rows = {row["text"]: row for part in parts for row in pq.read_table(part).to_pylist()}
    assert (rows[PRICE]["verdict"], rows[PRICE]["kept_id"]) == ("kept", None)
    found = next(row for text, row in rows.items() if text != PRICE)
    assert (found["verdict"], found["reason"], found["kept_id"]) == ("removed", "contaminated_v1", "exam:2")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["dedup"], "needs --conf FILE, or a data set: boostqa dedup FILE --text-field F --out DIR"),
        (["dedup", "ROWS"], "needs --out DIR"),
        (["dedup", "no.jsonl", "--out", "OUT"], "no.jsonl does not exist or matches no file"),
        (["dedup", "ROWS", "--out", "FULL"], "has files in it that are not of an earlier run"),
        (["dedup", "ROWS", "--out", "OTHER"], "holds the rows of another command, dedup /other.jsonl"),
        (["dedup", "FOLDER", "--out", "OUT"], "out lies inside of"),
        (["dedup", "GLOB", "--out", "OUT"], "out lies inside of"),
        (["dedup", "EARLIER", "--out", "EARLIER"], "lies inside of"),
        (["measure", "FOLDER/earlier/*/rows.jsonl", "--out", "EARLIER"], "whose files are replaced"),
        (["decontaminate", "ROWS", "--out", "OUT", "--against", "EARLIER", "--out", "EARLIER"], "lies inside of"),
        (["decontaminate", "ROWS", "--out", "OUT"], "needs --against FILE"),
        (["decontaminate", "ROWS", "--out", "OUT", "--against", "no.csv"], "--against: no.csv does not exist"),
        (["dedup", "ROWS", "--out", "OUT", "--encoding", "utf9"], "'utf9' is no text codec"),
        (["measure", "ROWS", "--out", "OUT", "--set", "measure.groups=1"], "measure.groups: "),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_writes_nothing(
    argv: list[str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    write_jsonl(tmp_path / "full" / "manifest.json", [{"mine": 1}])
    write_jsonl(tmp_path / "earlier" / "_boostqa" / "rows.jsonl", ROWS)
    other = {"what": "dedup /other.jsonl", "id": "", "format": "parquet", "files": []}
    write_jsonl(tmp_path / "other" / "manifest.json", [other])
    places = {
        "OTHER": tmp_path / "other",
        "ROWS": rows,
        "OUT": tmp_path / "out",
        "FULL": tmp_path / "full",
        "FOLDER": tmp_path,
    }
    places |= {"EARLIER": tmp_path / "earlier", "GLOB": tmp_path / "{rows,out}*"}
    assert main([str(places.get(part, part)).replace("FOLDER", str(tmp_path)) for part in argv]) == 2
    said = capfd.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_field_that_no_row_has_is_told(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    assert main(["dedup", str(rows), "--text-field", "bdy", "--out", str(tmp_path / "out")]) == 2
    assert "no row could be read (10 missing_field): is --text-field bdy right" in capfd.readouterr().err
