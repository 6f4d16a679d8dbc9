"""export: the files are what the manifest says, all formats hold the same rows, and the same mixture gives the same bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tests.etl.tiny import job_for, the_step

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.conftest import SampleRun


def folder_of(run: SampleRun) -> Path:
    (step,) = [row for row in run.steps if row["step"] == "export"]
    return Path(step["ids"]["export"])


def jsonl(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as packed:
        data = zstandard.ZstdDecompressor().stream_reader(packed).read()
    return [json.loads(line) for line in data.decode("utf-8").splitlines()]


def test_the_manifest_tells_size_rows_and_hash_of_every_file(sample_run: SampleRun) -> None:
    folder = folder_of(sample_run)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    files = {entry["path"]: entry for entry in manifest["files"]}
    assert set(files) == {path.name for path in folder.iterdir()} - {"manifest.json", "README.md"}
    for name, entry in files.items():
        data = (folder / name).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest["rows"] == len(sample_run.rows("mixture"))
    for kind in ("jsonl.zst", "parquet"):
        assert sum(entry["rows"] for entry in files.values() if entry["format"] == kind) == manifest["rows"]


def test_both_formats_hold_the_rows_of_the_mixture(sample_run: SampleRun) -> None:
    folder = folder_of(sample_run)
    lines = [row for path in sorted(folder.glob("*.jsonl.zst")) for row in jsonl(path)]
    rows = pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*.parquet"))).to_pylist()
    assert lines == rows
    tokens = {row["item_id"]: row["n_tokens"] for row in sample_run.rows("mixture")}
    assert {row["id"]: row["n_tokens"] for row in rows} == tokens
    qa = {row["qa_id"]: row for row in sample_run.rows("qa")}
    for row in rows:
        assert row["text"] == f"{row['question']}\n\n{row['answer']}"
        assert (row["question"], row["answer"]) == (qa[row["id"]]["question"], qa[row["id"]]["answer"])
        assert row["models"] == ["stand-in"]
        assert row["licenses"] == ["CC0-1.0"]


def test_cells_are_mixed_in_the_file(sample_run: SampleRun) -> None:
    rows = [row for path in sorted(folder_of(sample_run).glob("*.jsonl.zst")) for row in jsonl(path)]
    half = len(rows) // 2
    assert {row["lang"] for row in rows[:half]} == {row["lang"] for row in rows[half:]} == {"en", "zh"}


def test_the_card_says_in_plain_words_that_the_answers_are_placeholders(sample_run: SampleRun) -> None:
    card = (folder_of(sample_run) / "README.md").read_text("utf-8")
    assert "placeholders" in card
    assert "Do not train on them" in card
    assert f"{len(sample_run.rows('mixture'))} questions" in card
    assert "CC0-1.0" in card


def test_the_same_mixture_gives_the_same_bytes(sample_run: SampleRun, spark: SparkSession, tmp_path: Path) -> None:
    other = sample_run.config.model_copy(
        update={"export": sample_run.config.export.model_copy(update={"path": str(tmp_path)})}
    )
    outcome = the_step("export").run(job_for(spark, other))
    again = Path(outcome.ids["export"])
    assert again.is_relative_to(tmp_path)
    for path in folder_of(sample_run).glob("part-*"):
        assert (again / path.name).read_bytes() == path.read_bytes()
