"""curate: each document gets one verdict, and what stands for a duplicate is itself kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.etl.tiny import delta_versions, document, get, job_for, make_config, pair, put, source, the_step, write_jsonl

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.step import Job

ROOT = Path(__file__).resolve().parents[3]
Row = dict[str, Any]


def passages() -> list[str]:
    """Some English passages of the samples, which all pass the rules."""
    return [
        row["content"] for row in json.loads((ROOT / "samples/corpus/humanities/humanities.json").read_text("utf-8"))
    ]


def judge(spark: SparkSession, tmp_path: Path, rows: list[Row], **curate: Any) -> tuple[dict[str, Row], Any]:
    job = job_for(spark, make_config(tmp_path / "warehouse", curate=curate))
    put(job.tables, "documents", rows)
    outcome = the_step("curate").run(job)
    outcome.check("curate")
    judged = [row.asDict(recursive=True) for row in job.tables.read("curation").collect()]
    assert sorted(row["doc_id"] for row in judged) == sorted(row["doc_id"] for row in rows)
    for row in judged:
        assert row["kept"] == (row["reason"] is None)
        assert 0 <= row["quality"] <= 1
    return {row["doc_id"]: row for row in judged}, outcome


def close_to(text: str, word: str) -> str:
    """The passage with one word changed: a near-duplicate."""
    words = text.split()
    words[len(words) // 2] = word
    return " ".join(words)


def test_passages_and_pairs_each_get_one_verdict(spark: SparkSession, tmp_path: Path) -> None:
    first, second, *_ = passages()
    rows = [
        document("good", first),
        document("same", f"  {first.upper()}\n"),
        document("near", close_to(second, "somewhere")),
        document("other", second),
        document("short", "Heat rises."),
        pair("pair", "What is 7 x 8?", "The product of seven and eight is 56."),
        pair("pair-again", "What is 7 x 8?", "The product of seven and eight is 56."),
        document(
            "zh",
            "光合作用是植物、藻类和某些细菌利用光能，把二氧化碳和水转化为糖并放出氧气的过程。它发生在叶绿体中。",
            lang="zh",
        ),
    ]
    judged, outcome = judge(spark, tmp_path, rows)
    assert {name for name, row in judged.items() if row["kept"]} & {"pair", "pair-again"}
    assert judged["zh"]["kept"]
    assert outcome.dropped == {"exact_duplicate_v1": 2, "near_duplicate_v1": 1, "too_short_v1": 1}
    for row in judged.values():
        if row["reason"] in ("exact_duplicate_v1", "near_duplicate_v1"):
            assert judged[row["kept_id"]]["kept"]
            assert row["similarity"] >= 0.7


@pytest.mark.long
def test_what_stands_for_a_duplicate_is_kept_however_long_the_chain(spark: SparkSession, tmp_path: Path) -> None:
    rows = []
    for number, text in enumerate(passages()[:6]):
        # Two equal texts, and two more that are near to them and to each other.
        variants = [text, text, close_to(text, "here"), close_to(close_to(text, "here") + " So it is said.", "there")]
        rows += [document(f"{number}-{i}", variant) for i, variant in enumerate(variants)]
    judged, _ = judge(spark, tmp_path, rows)
    assert sum(row["kept"] for row in judged.values()) == 6
    for row in judged.values():
        if not row["kept"]:
            assert judged[row["kept_id"]]["kept"], row


@pytest.mark.parametrize(
    ("policy", "kinds", "clean"),
    [
        pytest.param("redact", True, True, marks=pytest.mark.long),
        ("flag", True, False),
        pytest.param("off", False, False, marks=pytest.mark.long),
    ],
)
def test_personal_data_by_policy(spark: SparkSession, tmp_path: Path, policy: str, kinds: bool, clean: bool) -> None:
    text = f"{passages()[0]} Write to lin.okafor@example.org or call +1 202-555-0143 for a copy of the text."
    question = "Whom does one ask for a copy, lin.okafor@example.org or somebody else in the library?"
    rows = [document("with", text), pair("asked", question, passages()[2]), document("without", passages()[1])]
    judged, _ = judge(spark, tmp_path, rows, personal_data=policy)
    assert bool(judged["with"]["personal_data"]) == kinds
    assert (judged["with"]["clean_text"] is not None) == clean
    assert "okafor" not in json.dumps(judged["with"]["clean_text"])
    assert not judged["without"]["personal_data"]
    assert judged["without"]["clean_text"] is None
    if clean:
        from etl.items import seeds

        job = job_for(spark, make_config(tmp_path / "warehouse"))
        texts = [str(row.asDict()) for row in seeds(job.tables).drop("uri").collect()]
        assert not any("okafor" in text for text in texts)


LEAK = "A tank holds four hundred litres and loses three litres every minute through a small hole near its floor: when is it empty?"
BENCH_FIELDS = {"question": "question", "answer": "answer", "id": "id"}


def test_benchmark_items_are_found_inside_passages_and_as_whole_short_questions(
    spark: SparkSession, tmp_path: Path
) -> None:
    short = {"id": "short", "question": "What is the capital of France?", "answer": "Paris"}
    benchmark = write_jsonl(tmp_path / "bench.jsonl", [{"id": "long", "question": LEAK, "answer": "later"}, short])
    unrelated = write_jsonl(
        tmp_path / "unrelated.jsonl", [{"id": "1", "question": "Who wrote Emma?", "answer": "Austen"}]
    )
    against = [source("bench", benchmark, format="jsonl", fields=BENCH_FIELDS)]
    rows = [
        document("holds", f"{passages()[0]} {LEAK}"),
        document("clean", passages()[1]),
        pair("asks", "what is the capital of  FRANCE?", "It is Paris, which lies on the Seine in the north."),
        pair("fine", "What is the capital of Peru?", "It is Lima, which lies on the coast in the middle."),
    ]
    against.append(source("bench:too", benchmark, format="jsonl", fields=BENCH_FIELDS))
    against.append(source("unrelated", unrelated, format="jsonl", fields=BENCH_FIELDS))
    judged, outcome = judge(spark, tmp_path, rows, decontaminate={"against": against})
    assert {name: row["benchmark"] for name, row in judged.items() if not row["kept"]} == {
        "holds": "bench:long",
        "asks": "bench:short",
    }
    assert {judged[name]["reason"] for name in ("holds", "asks")} == {"contaminated_v1"}
    assert judged["holds"]["benchmarks"] == ["bench:long", "bench:too:long"]
    counted = {name: value for name, value in outcome.figures.items() if name.startswith("benchmark_")}
    assert counted == {
        "benchmark_rows.bench": 2,
        "benchmark_items.bench": 2,
        "benchmark_rows.bench:too": 2,
        "benchmark_items.bench:too": 2,
        "benchmark_rows.unrelated": 0,
        "benchmark_items.unrelated": 0,
    }


@pytest.mark.long
def test_a_benchmark_record_that_can_not_be_read_is_in_quarantine_once(spark: SparkSession, tmp_path: Path) -> None:
    bench = tmp_path / "bench.jsonl"
    good = json.dumps({"id": "long", "question": LEAK, "answer": "later"})
    bench.write_text(f'{{"id": broken\n{good}\n{{"id": "none", "answer": "42"}}\n', "utf-8")
    against = [source("bench", bench, format="jsonl", fields=BENCH_FIELDS)]
    job = job_for(spark, make_config(tmp_path / "warehouse", curate={"decontaminate": {"against": against}}))
    put(job.tables, "documents", [document("holds", f"{passages()[0]} {LEAK}")])
    for _ in range(2):
        outcome = the_step("curate").run(job)
        assert outcome.dropped == {"contaminated_v1": 1}
        assert outcome.figures["unread_benchmark_records"] == 2
    assert get(job.tables, "quarantine", "source", "position", "reason") == [
        ("benchmark:bench", "1", "bad_json"),
        ("benchmark:bench", "3", "missing_field"),
    ]


@pytest.mark.long
def test_a_delta_table_can_be_a_benchmark(spark: SparkSession, tmp_path: Path) -> None:
    rows = [("long", LEAK, "later"), ("none", None, "42")]
    ddl = "id string, question string, answer string"
    spark.createDataFrame(rows, ddl).write.format("delta").save(str(tmp_path / "bench"))
    against = [source("bench", tmp_path / "bench", format="delta", fields=BENCH_FIELDS)]
    judged, outcome = judge(
        spark, tmp_path, [document("holds", f"{passages()[0]} {LEAK}")], decontaminate={"against": against}
    )
    assert judged["holds"]["benchmark"] == "bench:long"
    assert outcome.figures["unread_benchmark_records"] == 1


def verdicts(job: Job) -> dict[str, Row]:
    """Judges, and returns the verdicts by document."""
    the_step("curate").run(job).check("curate")
    return {row["doc_id"]: row.asDict(recursive=True) for row in job.tables.read("curation").collect()}


def looked_at(job: Job) -> set[str]:
    """The documents whose texts the last judging has read."""
    features = job.spark.read.schema("doc_id string").parquet(f"{job.tables.files}/scratch/curate_features")
    return {row["doc_id"] for row in features.collect()}


@pytest.mark.long
def test_later_documents_are_judged_against_those_that_were_kept_and_nothing_is_judged_twice(
    spark: SparkSession, tmp_path: Path
) -> None:
    first, second, third, *_ = passages()
    job = job_for(spark, make_config(tmp_path / "warehouse"))
    longer = f"{first} So it is said, and so it has been written down again and again by those who came after."
    put(
        job.tables,
        "documents",
        [document("a", first), document("a-near", close_to(first, "here")), document("b", second)],
    )
    before = verdicts(job)
    (loser,) = [name for name, row in before.items() if not row["kept"]]
    later = [
        document("better", longer),
        document("b-same", second),
        document("c", third),
        document("c-near", close_to(third, "here")),
    ]
    put(job.tables, "documents", later)
    after = verdicts(job)
    assert {name: after[name] for name in before} == before
    assert looked_at(job) == {"better", "b-same", "c", "c-near"}
    # A better text that comes later does not take the place of what was kept.
    assert (after["better"]["reason"], after["better"]["kept_id"]) == ("near_duplicate_v1", before[loser]["kept_id"])
    assert after["better"]["quality"] > after[before[loser]["kept_id"]]["quality"]
    assert (after["b-same"]["reason"], after["b-same"]["kept_id"]) == ("exact_duplicate_v1", "b")
    assert sum(after[name]["kept"] for name in ("c", "c-near")) == 1
    assert {row["judged"] for row in after.values() if row["doc_id"] not in before} == {1}
    verdicts(job)
    assert looked_at(job) == set()


@pytest.mark.long
def test_a_duplicate_is_judged_again_when_what_stood_for_it_is_gone(spark: SparkSession, tmp_path: Path) -> None:
    first, second, *_ = passages()
    job = job_for(spark, make_config(tmp_path / "warehouse"))
    put(
        job.tables,
        "documents",
        [document("a", first), document("a-near", close_to(first, "here")), document("b", second)],
    )
    before = verdicts(job)
    (stands,) = [row["kept_id"] for row in before.values() if not row["kept"]]
    job.tables.delete_where("documents", f"doc_id = '{stands}'")
    after = verdicts(job)
    assert set(after) == set(before) - {stands}
    assert all(row["kept"] for row in after.values())
    assert looked_at(job) == {"a", "a-near"} - {stands}


@pytest.mark.long
def test_other_settings_and_other_texts_are_judged_anew(spark: SparkSession, tmp_path: Path) -> None:
    first, second, *_ = passages()
    job = job_for(spark, make_config(tmp_path / "warehouse"))
    put(job.tables, "documents", [document("a", first), document("b", second)])
    verdicts(job)
    job.tables.delete_where("documents", "doc_id = 'a'")
    put(job.tables, "documents", [document("a", "Heat rises.")])
    assert verdicts(job)["a"]["reason"] == "too_short_v1"
    assert looked_at(job) == {"a"}
    other = job_for(spark, make_config(tmp_path / "warehouse", curate={"quality": {"min_units": 1}}))
    judged = verdicts(other)
    assert looked_at(other) == {"a", "b"}
    assert {row["judged"] for row in judged.values()} == {0}
    assert judged["a"]["kept"]


@pytest.mark.long
def test_no_documents_give_no_verdicts(spark: SparkSession, tmp_path: Path) -> None:
    job = job_for(spark, make_config(tmp_path / "warehouse"))
    outcome = the_step("curate").run(job)
    assert (outcome.rows_in, outcome.rows_out) == (0, 0)
    assert delta_versions(job.tables).get("documents", -1) == -1
