from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from etl.batches import batch_folder
from etl.cli import main
from etl.doctor import examine
from etl.tables import Tables
from tests.etl.tiny import document, kept, put
from udfs.engines.batch_intents import Asked, Intents
from udfs.segments import write_segment

if TYPE_CHECKING:
    from tests.conftest import SampleRun


def test_a_finished_run_is_well(sample_run: SampleRun, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["doctor", "--conf", "conf/local.yaml", "--set", f"tables.warehouse={sample_run.warehouse}"]) == 0
    assert capsys.readouterr().out == "all well\n"


@pytest.mark.long
def test_each_broken_promise_is_one_line_with_what_to_do(scratch_tables: Callable[[str], Tables]) -> None:
    tables = scratch_tables("broken")
    put(tables, "documents", [document("d1", "one"), document("d1", "one again"), document("d2", "two")])
    put(
        tables,
        "curation",
        [kept("d1"), {"doc_id": "gone", "kept": False, "kept_id": "d3"}, {"doc_id": "d3", "kept": False}],
    )
    put(tables, "drafts", [{"draft_id": "q1", "request_id": "never-asked", "seed_ids": ["d9"], "status": "ok"}])
    put(
        tables,
        "duplicates",
        [
            {"dedup_id": "x", "item_id": "d1", "kept_id": "d2", "cosine": 0.89, "threshold": 0.9},
            {"dedup_id": "x", "item_id": "d2", "kept_id": "d8", "cosine": 0.9, "threshold": 0.9},
        ],
    )
    put(tables, "edges", [{"dedup_id": "x", "a_id": a, "b_id": "d9", "cosine": 0.95} for a in ("d1", "d7")])
    now = datetime.now(timezone.utc)
    lost = {
        "run_id": "r",
        "step": "ingest",
        "attempt": 1,
        "status": "done",
        "rows_in": 9,
        "rows_out": 4,
        "dropped": {"bad": 3},
    }
    put(
        tables, "steps", [{**lost, "ids": {"seed_dedup_id": "x"}, "versions_out": {"documents": 99}, "created_at": now}]
    )
    write_segment(f"{tables.files}/wal/run-1/0", [])
    Intents(batch_folder(tables.files), "https://host/v1").write([Asked("never-asked", 0, 0)])
    problems = examine(tables)
    for words in (
        "documents: the key doc_id is not unique: 1 rows, such as d1.",
        "steps: rows in are not rows out and rows with a reason: 1 rows, such as r ingest 1.",
        "drafts: their request_id is not in llm_calls: 1 rows, such as q1.",
        "curation: their doc_id is not in documents: 2 rows",
        "curation: the kept document was itself dropped: 1 rows, such as gone. Run `curate` again.",
        "duplicates: the kept row was itself removed: 1 rows, such as d1.",
        "duplicates: the kept row does not exist: 1 rows, such as d2.",
        "duplicates: their cosine is under the threshold: 1 rows, such as d1.",
        "edges: both rows of a pair at or over the threshold were kept: 1 rows, such as d7.",
        "documents: its version is 0, but `steps` has recorded version 99.",
        "1 segments of paid answers are not in llm_calls yet",
        "batches: their requests are sent and not in llm_calls yet: 1 rows, such as ",
    ):
        assert any(words in problem for problem in problems), (words, problems)
    assert len(problems) == 12
