"""The whole run over the samples: what became of each planted item, that every row is accounted for, and that a second run is free."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from udfs.text import stable_id

if TYPE_CHECKING:
    from tests.conftest import SampleRun

ROOT = Path(__file__).resolve().parents[1]
TRUTH: dict[str, Any] = yaml.safe_load((ROOT / "samples/planted.yaml").read_text("utf-8"))
Row = dict[str, Any]
# Where readers count from: lines from 1 (a CSV header is one), elements of a JSON array from 0.
FIRST_RECORD = {".jsonl": 1, ".csv": 2, ".json": 0}


def documents_of(run: SampleRun, item: Row) -> list[Row]:
    """The documents of a planted item, found by its id (which is part of the key) or by a phrase."""
    here = [row for row in run.rows("documents") if row["uri"].endswith(f"/corpus/{item['file']}")]
    if "phrase" in item:
        return [row for row in here if item["phrase"] in row["text"]]
    record = {stable_id(row["source"], Path(item["file"]).name, str(item["id"]), "0") for row in here}
    return [row for row in here if row["parent_id"] in record]


def verdict(run: SampleRun, item: Row) -> Row:
    (found,) = documents_of(run, item)
    (judged,) = [row for row in run.rows("curation") if row["doc_id"] == found["doc_id"]]
    return judged


def kept_and_dropped(run: SampleRun, members: list[Row]) -> tuple[Row, Row]:
    kept, dropped = sorted((verdict(run, member) for member in members), key=lambda row: not row["kept"])
    assert (kept["kept"], dropped["kept"]) == (True, False)
    assert kept["reason"] is None
    assert dropped["kept_id"] == kept["doc_id"]
    return kept, dropped


def name_of(item: Row) -> str:
    return str(item.get("id") or item.get("phrase") or item.get("file") or item["members"][-1]["id"])


@pytest.mark.parametrize("pair", TRUTH["exact_duplicates"], ids=name_of)
def test_of_exact_duplicates_one_is_kept_and_the_other_names_it(sample_run: SampleRun, pair: Row) -> None:
    _, dropped = kept_and_dropped(sample_run, pair["members"])
    assert dropped["reason"] == "exact_duplicate_v1"
    assert dropped["similarity"] == 1.0


@pytest.mark.parametrize("pair", TRUTH["near_duplicates"], ids=name_of)
def test_of_near_duplicates_one_is_kept_and_the_other_names_it(sample_run: SampleRun, pair: Row) -> None:
    _, dropped = kept_and_dropped(sample_run, pair["members"])
    assert dropped["reason"] == "near_duplicate_v1"
    assert dropped["similarity"] == pytest.approx(pair["jaccard"], abs=0.02)


@pytest.mark.parametrize("pair", TRUTH["semantic_duplicates"], ids=name_of)
def test_of_semantic_duplicates_one_stays_with_the_cosine_of_the_other(sample_run: SampleRun, pair: Row) -> None:
    ids = {verdict(sample_run, member)["doc_id"] for member in pair["members"]}
    (removed,) = [row for row in sample_run.rows("duplicates") if row["item_id"] in ids]
    assert {removed["item_id"], removed["kept_id"]} == ids
    assert removed["method"] == "semantic"
    assert removed["cosine"] == pytest.approx(pair["cosine"], abs=3e-3)
    assert removed["cosine"] >= removed["threshold"]


def test_seeds_are_semantic_duplicates_only_where_planted(sample_run: SampleRun) -> None:
    documents = {row["doc_id"] for row in sample_run.rows("documents")}
    removed = [row for row in sample_run.rows("duplicates") if row["item_id"] in documents]
    assert len(removed) == len(TRUTH["semantic_duplicates"])


@pytest.mark.parametrize("item", TRUTH["benchmark"], ids=name_of)
def test_benchmark_items_are_dropped_as_contaminated(sample_run: SampleRun, item: Row) -> None:
    judged = verdict(sample_run, item)
    assert (judged["kept"], judged["reason"]) == (False, "contaminated_v1")
    assert judged["benchmark"] == f"sample_benchmark:{item['benchmark_id']}"


@pytest.mark.parametrize("item", TRUTH["low_quality"], ids=name_of)
def test_low_quality_is_dropped_by_its_rule(sample_run: SampleRun, item: Row) -> None:
    reason = {"length": "too_short_v1", "repetition": "too_repetitive_v1", "symbols": "too_many_symbols_v1"}
    judged = verdict(sample_run, item)
    assert (judged["kept"], judged["reason"]) == (False, reason[item["rule"]])
    assert judged["rules"]


def test_nothing_but_what_was_planted_is_dropped(sample_run: SampleRun) -> None:
    planted = Counter(
        exact_duplicate_v1=len(TRUTH["exact_duplicates"]),
        near_duplicate_v1=len(TRUTH["near_duplicates"]),
        contaminated_v1=len(TRUTH["benchmark"]),
        too_short_v1=1,
        too_repetitive_v1=1,
        too_many_symbols_v1=1,
    )
    assert Counter(row["reason"] for row in sample_run.rows("curation") if not row["kept"]) == planted


@pytest.mark.parametrize("item", TRUTH["personal_data"], ids=name_of)
def test_personal_data_stays_in_documents_and_goes_nowhere_else(sample_run: SampleRun, item: Row) -> None:
    judged = verdict(sample_run, item)
    (original,) = documents_of(sample_run, item)
    assert judged["kept"]
    assert judged["personal_data"]
    for string in item["strings"]:
        assert string in original["text"]
        assert string not in judged["clean_text"]
        assert not any(string in row["messages"] for row in sample_run.rows("llm_calls"))
        assert not any(string in f"{row['question']} {row['answer']}" for row in sample_run.rows("qa"))


@pytest.mark.parametrize("item", TRUTH["quarantine"], ids=lambda item: f"{item['file']}:{item.get('record', 0)}")
def test_a_broken_record_is_in_quarantine_with_file_position_and_reason(sample_run: SampleRun, item: Row) -> None:
    here = [row for row in sample_run.rows("quarantine") if row["uri"].endswith(f"/corpus/{item['file']}")]
    whole_file = "record" not in item
    first = FIRST_RECORD.get(next((s for s in FIRST_RECORD if s in Path(item["file"]).suffixes), ""), 0)
    position = 0 if whole_file else item["record"] - 1 + first
    (found,) = [row for row in here if row["position"] == str(position)]
    assert found["reason"] == item["reason"]
    assert found["error"]
    if "id" in item or ("phrase" in item and item["reason"] != "truncated"):
        assert item.get("id", item.get("phrase")) in found["raw"]


def test_nothing_else_is_in_quarantine(sample_run: SampleRun) -> None:
    assert len(sample_run.rows("quarantine")) == len(TRUTH["quarantine"])
    assert all(len(row["raw"] or "") <= 2_000 for row in sample_run.rows("quarantine"))


@pytest.mark.parametrize("item", [i for i in TRUTH["quarantine"] if "readable" in i], ids=name_of)
def test_the_rest_of_a_broken_file_is_read(sample_run: SampleRun, item: Row) -> None:
    here = [row for row in sample_run.rows("documents") if row["uri"].endswith(f"/corpus/{item['file']}")]
    found = [documents_of(sample_run, {"file": item["file"], "id": name}) for name in item["readable"]]
    assert all(len(rows) == 1 for rows in found)
    assert len(here) == len(item["readable"])


def test_each_source_gives_as_many_records_as_stated(sample_run: SampleRun) -> None:
    parents = {(row["source"], row["parent_id"]) for row in sample_run.rows("documents")}
    read = Counter(source for source, _ in parents)
    lost = Counter(row["source"] for row in sample_run.rows("quarantine"))
    stated = TRUTH["sources"]
    assert {name: {"read": read[name], "quarantined": lost[name]} for name in stated} == stated
    for name, counts in stated.items():
        files = [row for row in sample_run.rows("files") if row["source"] == name]
        assert sum(row["records"] for row in files) == counts["read"] + counts["quarantined"]


def test_every_format_is_read_with_its_licence_and_language(sample_run: SampleRun) -> None:
    rows = sample_run.rows("documents")
    formats = {row["format"] for row in rows}
    assert formats == {"jsonl", "json", "csv", "tsv", "parquet", "markdown", "text", "html", "warc"}
    assert {row["license"] for row in rows} == {"CC0-1.0"}
    chinese = [row for row in rows if row["lang"] == "zh"]
    assert {row["source"] for row in chinese} >= {"zh_science", "zh_humanities", "qa_zh"}
    assert not any(row["source"].startswith("zh_") for row in rows if row["lang"] == "en")


def test_every_key_is_unique(sample_run: SampleRun) -> None:
    from etl.schemas import TABLES

    for name, table in TABLES.items():
        keys = Counter(tuple(row[column] for column in table.key) for row in sample_run.rows(name))
        assert [key for key, count in keys.items() if count > 1] == [], name


def test_every_step_accounts_for_every_row(sample_run: SampleRun) -> None:
    steps = sample_run.steps
    assert [(row["step"], row["status"]) for row in steps] == [(r.step, "done") for r in sample_run.finished.steps]
    for row in steps:
        assert row["rows_in"] == row["rows_out"] + sum(row["dropped"].values()), row["step"]
        assert row["rows_in"] > 0, row["step"]


def test_each_step_takes_what_the_one_before_it_gave(sample_run: SampleRun) -> None:
    first: dict[str, Row] = {}
    last: dict[str, Row] = {}
    for row in sample_run.steps:
        first.setdefault(row["step"], row)
        last[row["step"]] = row
    assert first["curate"]["rows_in"] == first["ingest"]["rows_out"] == len(sample_run.rows("documents"))
    assert first["dedup"]["rows_in"] == first["curate"]["rows_out"]
    assert first["annotate"]["rows_in"] == first["dedup"]["rows_out"]
    asked = [row for row in sample_run.rows("drafts") if row["status"] == "ok"]
    assert first["refine"]["rows_in"] == len(asked)
    assert first["verify"]["rows_in"] == first["refine"]["rows_out"]
    assert last["dedup"]["rows_in"] == first["verify"]["rows_out"]
    assert first["select"]["rows_in"] == last["dedup"]["rows_out"]
    assert first["export"]["rows_in"] == first["select"]["rows_out"] == len(sample_run.rows("mixture"))


def test_the_screen_has_a_line_per_step_with_rows_and_seconds(sample_run: SampleRun) -> None:
    steps = [line for line in sample_run.lines if line.startswith("[")]
    assert len(steps) == len(sample_run.finished.steps)
    for line, ran in zip(steps, sample_run.finished.steps, strict=True):
        assert f"] {ran.step} " in line
        assert f"{ran.outcome.rows_in} in, {ran.outcome.rows_out} out" in line
        assert line.endswith(" s")


def test_every_call_is_answered_by_the_stand_in_and_recorded_once(sample_run: SampleRun) -> None:
    calls = sample_run.rows("llm_calls")
    assert {row["served_model"] for row in calls} == {"stand-in"}
    assert {row["status"] for row in calls} == {"ok"}
    assert {row["task"] for row in calls} == {"annotate", "probe", "multi_grade", "high_difficulty", "refine"}
    assert {row["run_id"] for row in calls} == {sample_run.run_id}
    leftovers = list(Path(sample_run.tables.files).glob("wal/**/*.parquet"))
    assert leftovers == []


def test_chinese_items_are_labelled_by_the_llm_and_not_by_their_embedding(sample_run: SampleRun) -> None:
    unread = {row["item_id"] for row in sample_run.rows("embeddings") if row["reason"] == "unknown_tokens"}
    chinese = {row["doc_id"] for row in sample_run.rows("documents") if row["lang"] == "zh"}
    assert len(unread & chinese) > 20
    for row in sample_run.rows("annotations"):
        if row["item_id"] in unread and row["annotator"].startswith("zero_shot"):
            assert row["discipline"] is None
            assert row["reason"] == "unknown_tokens"
    by_llm = {row["item_id"] for row in sample_run.rows("annotations") if row["annotator"].startswith("llm")}
    annotated = {row["item_id"] for row in sample_run.rows("annotations")}
    assert unread & annotated <= by_llm


def test_no_row_is_a_duplicate_by_an_embedding_that_can_not_read_it(sample_run: SampleRun) -> None:
    unread = {row["item_id"] for row in sample_run.rows("embeddings") if row["reason"] is not None}
    assert not [
        row for row in sample_run.rows("duplicates") if row["method"] == "semantic" and row["item_id"] in unread
    ]


def test_no_question_stands_twice_in_the_mixture(sample_run: SampleRun) -> None:
    question = {row["qa_id"]: row["question"] for row in sample_run.rows("qa")}
    times = Counter(question[row["item_id"]] for row in sample_run.rows("mixture"))
    assert [text for text, count in times.items() if count > 1] == []


def test_no_two_kept_questions_were_found_too_alike(sample_run: SampleRun) -> None:
    removed: dict[str, set[str]] = {}
    for row in sample_run.rows("duplicates"):
        removed.setdefault(row["dedup_id"], set()).add(row["item_id"])
    assert removed
    for edge in sample_run.rows("edges"):
        assert {edge["a_id"], edge["b_id"]} & removed[edge["dedup_id"]], edge
    for row in sample_run.rows("duplicates"):
        assert row["kept_id"] not in removed[row["dedup_id"]]


def test_an_exported_row_leads_back_to_its_prompt_seed_and_file(sample_run: SampleRun) -> None:
    calls = {row["request_id"]: row for row in sample_run.rows("llm_calls")}
    documents = {row["doc_id"]: row for row in sample_run.rows("documents")}
    qa = {row["qa_id"]: row for row in sample_run.rows("qa")}
    for row in sample_run.rows("mixture"):
        made = qa[row["item_id"]]
        assert [calls[call]["task"] for call in made["request_ids"]] == [made["branch"], "refine"]
        assert all(Path(documents[seed]["uri"].removeprefix("file:")).is_file() for seed in made["seed_ids"])


def test_fixed_recipe_and_targets(sample_run: SampleRun) -> None:
    allocation = sample_run.rows("allocation")
    assert sum(row["target_tokens"] for row in allocation) == sample_run.config.plan.total_tokens
    recipes = {row["recipe_id"] for row in sample_run.rows("qa")}
    used = {
        r["recipe_id"]
        for r in sample_run.rows("qa")
        if r["qa_id"] in {m["item_id"] for m in sample_run.rows("mixture")}
    }
    assert used <= recipes


@pytest.fixture(scope="module")
def second_run(sample_run: SampleRun) -> tuple[dict[str, int], dict[str, int], Any, list[str]]:
    """The same run again: Delta versions before and after it, the run, the screen."""
    from tests.etl.tiny import delta_versions, run_steps

    before = delta_versions(sample_run.tables)
    finished, lines = run_steps(sample_run.tables.spark, sample_run.config)
    return before, delta_versions(sample_run.tables), finished, lines


def test_a_second_run_writes_nothing_but_its_steps(
    second_run: tuple[dict[str, int], dict[str, int], Any, list[str]],
) -> None:
    before, after, finished, _ = second_run
    assert after.pop("steps") > before.pop("steps")
    assert after == before
    assert {name for name, rows in finished.written.items() if rows} <= {"steps"}


def test_in_a_second_run_every_step_says_that_nothing_has_changed(
    second_run: tuple[dict[str, int], dict[str, int], Any, list[str]],
) -> None:
    _, _, finished, lines = second_run
    # ingest looks at the files themselves and finds nothing new.
    ingest, *others = finished.steps
    assert (ingest.step, ingest.outcome.rows_in) == ("ingest", 0)
    assert {ran.status for ran in others} == {"unchanged"}
    assert not any("requests sent" in line for line in lines)
