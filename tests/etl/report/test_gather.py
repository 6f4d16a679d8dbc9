"""The figures of a small warehouse whose every row is known, and of the samples."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.errors import UserError
from etl.recipes import draft_recipes, question_recipes
from etl.report import write_report
from etl.report.figures import CellMap, Figures, Reason, Stage
from etl.report.gather import gather
from etl.tables import Tables
from tests.etl.tiny import MODEL, document, kept, label, local_annotators, make_config, put
from udfs.text import text_hash

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.config import Config
    from tests.conftest import SampleRun

SEED, ZH, SHORT, TWIN = "Water boils at 100 degrees.", "宪法是根本大法。", "Hm.", "At 100 degrees water boils."
MADE = {"seed_dedup_id": "seed-dedup", "plan_id": "plan", "dedup_id": "dedup", "mix_id": "mix"}


def step(number: int, name: str, run_id: str = "run-2", **more: Any) -> dict[str, Any]:
    """A row of `steps`, in the minute `number` of an hour."""
    ended = datetime(2030, 1, 1, 12, number, tzinfo=timezone.utc)
    row = {
        "run_id": run_id,
        "step": name,
        "attempt": 1,
        "status": "done",
        "rows_in": 0,
        "rows_out": 0,
        "created_at": ended,
    }
    return {**row, "seconds": 1.5, "dropped": {}, "figures": {}, "ids": {}, **more}


def question(name: str, config: Config, **more: Any) -> dict[str, Any]:
    """A row of `qa` made from the first seed by the config's recipe."""
    row = {"qa_id": name, "recipe_id": question_recipes(config)[0], "quality": 0.8, "lang": "en", "seed_ids": ["d1"]}
    row |= {"seed_hashes": [text_hash(SEED)]}
    row |= {"branch": "multi_grade", "grade": "high_school", "question": f"{name}?", "answer": f"{name}!"}
    row |= {"draft_answer": "?", "discipline": "science", "difficulty": 2, "target_difficulty": 3, "status": "verified"}
    return {**row, **more}


def call(name: str, **more: Any) -> dict[str, Any]:
    """A row of `llm_calls`."""
    row = {
        "request_id": name,
        "attempt": 0,
        "task": "refine",
        "model": "asked",
        "served_model": "stand-in",
        "attempts": 2,
    }
    row |= {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "cost": 0.5,
        "latency_s": 1.0,
        "status": "ok",
        "run_id": "run-2",
    }
    return {**row, **more}


def fill_seeds(tables: Tables) -> None:
    put(
        tables,
        "documents",
        [document("d1", SEED), document("d2", ZH, lang="zh"), document("d3", SHORT), document("d4", TWIN)],
    )
    put(
        tables,
        "quarantine",
        [{"uri": "a.jsonl", "position": "3", "source": "tiny", "reason": "bad_json", "error": "no end", "raw": "{"}],
    )
    dropped = {"doc_id": "d3", "kept": False, "reason": "too_short_v1", "quality": 0.1}
    put(tables, "curation", [kept("d1"), kept("d2"), kept("d4"), dropped])
    unread = label("d2", ZH, "", 1) | {"discipline": None, "difficulty": None, "reason": "unknown_tokens"}
    by_llm = label("d2", ZH, "law", 4, annotator=local_annotators()[1])
    put(tables, "annotations", [label("d1", SEED, "science", 2), unread, by_llm])
    vector = {"role": "text", "model": MODEL, "dim": 2}
    read = {"item_id": "d1", "text_hash": text_hash(SEED), "reason": None, **vector}
    put(
        tables,
        "embeddings",
        [read, {"item_id": "d2", "text_hash": text_hash(ZH), "reason": "unknown_tokens", **vector}],
    )
    cell = {"plan_id": "plan", "discipline": "science", "difficulty": 2, "deficiency": 0.25, "n": 4}
    put(
        tables,
        "allocation",
        [{**cell, "grade": "a", "target_tokens": 100}, {**cell, "grade": "b", "target_tokens": 50}],
    )


def fill_questions(tables: Tables, config: Config) -> None:
    draft = {
        "recipe_id": draft_recipes(config)[0],
        "lang": "en",
        "seed_ids": ["d1"],
        "seed_hashes": [text_hash(SEED)],
        "status": "ok",
    }
    unusable = {"draft_id": "t9", "status": "rejected", "reason": "llm_unusable", "error": "no JSON"}
    put(tables, "drafts", [{**draft, "draft_id": f"t{i}"} for i in range(1, 5)] + [unusable])
    put(
        tables,
        "refinements",
        [{"qa_id": f"q{i}", "draft_id": f"t{i}", "status": "ok", "question": f"q{i}?"} for i in range(1, 5)],
    )
    rejected = question("q4", config, status="rejected", reason="too_easy_v1")
    put(tables, "qa", [question("q1", config), question("q2", config), question("q3", config), rejected])
    put(tables, "edges", [
        {"dedup_id": "seed-dedup", "a_id": "d1", "b_id": "d4", "cosine": 0.91},
        {"dedup_id": "dedup", "a_id": "q1", "b_id": "q2", "cosine": 0.95},
        {"dedup_id": "of another time", "a_id": "q1", "b_id": "q3", "cosine": 0.99},
    ])  # fmt: skip
    same = {"cosine": 0.95, "method": "semantic", "threshold": 0.9}
    put(tables, "duplicates", [
        {"dedup_id": "seed-dedup", "item_id": "d4", "kept_id": "d1", **same},
        {"dedup_id": "dedup", "item_id": "q2", "kept_id": "q1", **same},
        {"dedup_id": "of another time", "item_id": "q3", "kept_id": "q1", **same},
    ])  # fmt: skip
    put(tables, "mixture", [{"mix_id": "mix", "item_id": "q1", "cell": "science/2", "n_tokens": 30}])


def fill_records(tables: Tables) -> None:
    failed = {"status": "failed", "error": "HTTP 500"}
    put(
        tables,
        "llm_calls",
        [call("r1"), call("r2", run_id="run-1"), call("r3", **failed), call("r4", served_model=None)],
    )
    value = {"items": "qa", "scope": "all", "metric": "vendi_q1", "n": 2, "ci_low": None, "ci_high": None}
    put(
        tables,
        "diversity",
        [{**value, "inputs_id": "now", "value": 1.8}, {**value, "inputs_id": "before", "value": 9.0}],
    )
    twin = {"semantic_duplicate": 1}
    audit = {
        "audit_recall": 0.5,
        "audit_pairs": 2.0,
        "orphans": 0.0,
        "compared_rows": 3.0,
        "not_comparable": 1.0,
        "edges": 1.0,
    }
    put(tables, "steps", [
        step(0, "plan", "run-1", ids={"plan_id": "old plan"}),
        step(1, "dedup", rows_in=3, dropped=twin, figures=audit | {"threshold": 0.85}, ids={"seed_dedup_id": "seed-dedup"}),
        step(2, "plan", ids={"plan_id": "plan"}),
        step(3, "dedup", attempt=2, rows_in=3, dropped=twin, figures=audit, ids={"dedup_id": "dedup"}),
        step(4, "measure", fingerprint="now"),
        step(5, "select", rows_in=2, dropped={"over_quota": 1}, ids={"mix_id": "mix"}),
        step(6, "export", status="failed", error="disk full"),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_config(tmp_path_factory.mktemp("report") / "warehouse")


@pytest.fixture(scope="module")
def figures(spark: SparkSession, config: Config) -> Figures:
    tables = Tables(spark, config.tables)
    fill_seeds(tables)
    fill_questions(tables, config)
    fill_records(tables)
    return gather(tables, config)


def test_the_funnel_counts_every_row_once(figures: Figures) -> None:
    assert figures.funnel == (
        Stage("documents", "passages", 4, {"bad_json": 1}),
        Stage("seeds", "passages", 3, {"too_short_v1": 1}),
        Stage("unique_seeds", "passages", 2, {"semantic_duplicate": 1}),
        Stage("drafts", "questions", 4, {"llm_unusable": 1}),
        Stage("refined", "questions", 4, {}),
        Stage("verified", "questions", 3, {"too_easy_v1": 1}),
        Stage("deduplicated", "questions", 2, {"semantic_duplicate": 1}),
        Stage("exported", "questions", 1, {"over_quota": 1}),
    )


def test_reasons_have_examples_that_can_be_read(figures: Figures) -> None:
    def first(reason: Reason) -> tuple[str, str, str]:
        example = reason.examples[0]
        return example.id, example.text, example.detail

    found = {(r.stage, r.reason): first(r) for r in figures.reasons if r.examples}
    assert found["seeds", "too_short_v1"] == ("d3", SHORT, "")
    assert found["unique_seeds", "semantic_duplicate"] == ("d4", TWIN, "kept: d1, cosine 0.950")
    assert found["deduplicated", "semantic_duplicate"] == ("q2", "q2?", "kept: q1, cosine 0.950")
    assert found["drafts", "llm_unusable"] == ("t9", "", "no JSON")
    assert [first(r) for r in figures.quarantine] == [("a.jsonl 3", "{", "no end")]


def test_cells_are_of_the_last_plan_and_dedup(figures: Figures) -> None:
    assert figures.maps == (
        CellMap("seeds", {("science", 2): 1.0, ("law", 4): 1.0}),
        CellMap("deficiency", {("science", 2): 0.25}),
        CellMap("planned_tokens", {("science", 2): 150.0}),
        CellMap("questions", {("science", 2): 2.0}),
    )


def test_dedup_tells_its_recall_and_which_of_a_pair_went(figures: Figures) -> None:
    seeds, questions = figures.dedups
    assert (seeds.items, seeds.rows, seeds.removed, seeds.figures["audit_recall"]) == ("seeds", 3, 1, 0.5)
    # That of the run, and for a run that did not tell it, that of the config.
    assert (seeds.threshold, questions.threshold) == (0.85, 0.9)
    pair = questions.pairs[0]
    assert (pair.a.text, pair.b.text, pair.cosine, pair.removed) == ("q1?", "q2?", 0.95, frozenset({"q2"}))
    assert len(questions.pairs) == 1


def test_calls_are_summed_by_the_model_that_answered(figures: Figures) -> None:
    named, stand_in = figures.calls
    assert (named.model, named.requests) == ("asked", 1)
    assert (stand_in.model, stand_in.requests, stand_in.this_run, stand_in.attempts) == ("stand-in", 3, 2, 6)
    assert (stand_in.prompt_tokens, stand_in.cost, stand_in.failed) == (300, 1.5, 1)
    assert [(e.error, e.count) for e in figures.call_errors] == [("HTTP 500", 1)]


def test_measures_are_of_the_last_inputs(figures: Figures) -> None:
    assert [(m.items, m.scope, m.n, m.values) for m in figures.diversity] == [
        ("qa", "all", 2, {"vendi_q1": (1.8, None, None)})
    ]


def test_what_the_embedding_can_not_read_is_counted(figures: Figures) -> None:
    found = {(u.what, u.items): (u.reason, u.count, u.total) for u in figures.unreadable}
    assert found == {("vector", "passages"): ("unknown_tokens", 1, 2), ("label", "seeds"): ("unknown_tokens", 1, 2)}


def test_the_sample_tells_what_became_of_each_question(figures: Figures) -> None:
    fate = {q.qa_id: (q.status, q.reason) for q in figures.sample}
    assert fate == {
        "q1": ("exported", ""),
        "q2": ("duplicate", "semantic, kept: q1"),
        "q3": ("verified", ""),
        "q4": ("rejected", "too_easy_v1"),
    }
    assert {q.seed for q in figures.sample} == {SEED}


def test_the_last_run_stands_at_the_head(figures: Figures) -> None:
    facts = figures.facts
    assert (facts.run_id, facts.finished, facts.seconds) == ("run-2", "2030-01-01 12:06 UTC", 9.0)
    assert (facts.exported_rows, facts.exported_tokens) == (1, 30)
    assert [(s.step, s.status, s.error) for s in figures.steps][-1] == ("export", "failed", "disk full")
    assert len(figures.steps) == 6


def test_a_warehouse_without_a_run_is_refused(scratch_tables: Callable[[str], Tables], config: Config) -> None:
    with pytest.raises(UserError, match="no run is recorded"):
        gather(scratch_tables("nothing"), config)


@pytest.mark.long
def test_the_samples_make_a_page_that_is_the_same_twice(
    sample_run: SampleRun, spark: SparkSession, tmp_path: Path
) -> None:
    paths = [write_report(spark, sample_run.config, str(tmp_path / name)) for name in ("one.html", "two.html")]
    one, two = (Path(path).read_text("utf-8") for path in paths)
    assert one == two
    assert "placeholders" in one
    assert len(one) < 2_000_000


def test_the_samples_figures_agree_with_the_steps(sample_run: SampleRun) -> None:
    found = gather(sample_run.tables, sample_run.config)
    last = {row["step"]: row for row in sample_run.steps}
    rows = {stage.name: stage.rows for stage in found.funnel}
    assert rows["seeds"] == last["curate"]["rows_out"]
    assert rows["deduplicated"] == last["dedup"]["rows_out"]
    assert rows["exported"] == found.facts.exported_rows == last["export"]["rows_out"] > 0
    assert sum(dict(found.maps[3].cells).values()) == rows["deduplicated"]
    assert {m.items for m in found.diversity} == {"documents", "qa"}
    assert {q.lang for q in found.sample} == {"en", "zh"}
    assert len(found.sample) == 200
