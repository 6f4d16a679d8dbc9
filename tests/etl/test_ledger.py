"""The ledger: asked once, paid once, recorded with its fate, never over the budget, and nothing lost when a run is killed."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.asking import ask
from etl.engines import engine_spec
from etl.errors import BudgetStop, UserError
from etl.ledger import Ledger
from etl.recorded_calls import latest_calls
from tests.etl.tiny import delta_versions, get, job_for, make_config
from tests.udfs.engines.tiny_model import TINY_VLLM, make_tiny_model, needs_vllm
from udfs.engines.teacher_faults import Faults
from udfs.engines.teacher_process import start_teacher
from udfs.requests import Asking, read_answer
from udfs.segments import write_segment
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from etl.tables import Tables
    from udfs.engines.teacher_process import Teacher

Make = Callable[[], "Tables"]
PARAMS = {"max_tokens": 50, "temperature": 0.0}


def request(name: str, model: str = "stand-in") -> dict[str, Any]:
    messages = [{"role": "user", "content": f"ledger: {name}"}]
    asked = {"task": "probe", "prompt_id": "probe@1", "model": model, "params": json.dumps(PARAMS), "sample": 0}
    return {"request_id": stable_id(name, model), **asked, "messages": json.dumps(messages), "prefix": name}


def frame(tables: Tables, *rows: dict[str, Any]) -> DataFrame:
    ddl = "request_id string, task string, prompt_id string, model string, params string, sample int, messages string, prefix string"
    return tables.spark.createDataFrame([tuple(row.values()) for row in rows], ddl)


def requests(tables: Tables, name: str, count: int) -> DataFrame:
    return frame(tables, *[request(f"{name}-{i}") for i in range(count)])


def ledger(tables: Tables, teacher: Teacher, run_id: str = "run-1", retry_failed: bool = False, **llm: Any) -> Ledger:
    settings = {"endpoint": "urls", "base_urls": [teacher.base_url], "max_attempts": 1, **llm}
    config = make_config(tables.root, llm=settings)
    return Ledger(tables, config.llm, run_id, lambda: list(config.llm.base_urls), retry_failed=retry_failed)


def sent(teacher: Teacher) -> int:
    return int(teacher.stats()["requests"])


def test_equal_requests_are_asked_once_and_a_second_ask_is_free(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    rows = requests(tables, "once", 7)
    before = sent(teacher)
    assert ledger(tables, teacher).ask(rows.unionByName(rows)) == 7
    assert sent(teacher) - before == 7
    assert len(get(tables, "llm_calls", "request_id")) == 7
    versions = delta_versions(tables)
    assert ledger(tables, teacher, "run-2").ask(rows) == 0
    assert sent(teacher) - before == 7
    assert delta_versions(tables) == versions


@pytest.mark.long
def test_only_what_is_new_is_asked(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    ledger(tables, teacher).ask(requests(tables, "new", 3))
    before = sent(teacher)
    assert ledger(tables, teacher).ask(requests(tables, "new", 5)) == 2
    assert sent(teacher) - before == 2


def test_one_request_a_row_whatever_is_done_with_the_answers_later(
    scratch_tables: Make, teacher: Teacher, spark: SparkSession
) -> None:
    tables = scratch_tables()
    job = job_for(
        spark, make_config(tables.root, llm={"endpoint": "urls", "base_urls": [teacher.base_url]}), [teacher.base_url]
    )
    rows = spark.createDataFrame(
        [(f"plan-{i}", "en", f"What is {i} + 1?", 0, f"plan-{i}") for i in range(6)],
        "item_id string, lang string, question string, sample int, prefix string",
    )
    before = sent(teacher)
    answers = ask(job, "probe", rows, Asking("probe", "stand-in", PARAMS))
    assert answers.count() == 6
    assert answers.where("status = 'ok' AND item_id > 'plan-2'").count() == 3
    assert answers.limit(2).count() == 2
    assert len(answers.collect()) == 6
    assert sent(teacher) - before == 6


@pytest.mark.long
def test_a_terminal_failure_is_recorded_with_its_reason_and_not_asked_again(
    scratch_tables: Make, teacher: Teacher
) -> None:
    tables = scratch_tables()
    teacher.set_faults(error_500=1.0)
    rows = requests(tables, "fails", 3)
    assert ledger(tables, teacher, max_attempts=2).ask(rows) == 3
    recorded = get(tables, "llm_calls", "status", "attempts", "error")
    assert [(status, attempts) for status, attempts, _ in recorded] == [("failed", 2)] * 3
    assert all("HTTP 500" in error for _, _, error in recorded)
    teacher.set_faults(error_500=0.0)
    before = sent(teacher)
    assert ledger(tables, teacher).ask(rows) == 0
    assert sent(teacher) == before


def call(name: str, **changes: Any) -> dict[str, Any]:
    asked = {key: value for key, value in request(name).items() if key != "prefix"}
    return {
        **asked,
        "attempt": 0,
        "status": "ok",
        "response": "an answer",
        "attempts": 1,
        "run_id": "killed",
        **changes,
    }


def test_answers_of_a_killed_run_are_committed_and_not_paid_again(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    wal = f"{tables.files}/wal/killed-1"
    write_segment(f"{wal}/0", [call("orphan-0"), call("orphan-1")])
    write_segment(f"{wal}/1", [call("orphan-2")])
    assert ledger(tables, teacher).recover() == 3
    assert get(tables, "llm_calls", "run_id") == ["killed"] * 3
    assert list(Path(tables.files).glob("wal/**/*")) == []
    before = sent(teacher)
    assert ledger(tables, teacher).ask(requests(tables, "orphan", 4)) == 1
    assert sent(teacher) - before == 1


@pytest.mark.long
def test_a_segment_that_is_committed_twice_changes_nothing(
    scratch_tables: Make, teacher: Teacher, tmp_path: Path
) -> None:
    tables = scratch_tables()
    folder = Path(tables.files) / "wal/killed-1/0"
    segment = Path(write_segment(str(folder), [call("twice-0"), call("twice-1")]))
    shutil.copy(segment, tmp_path / segment.name)
    assert ledger(tables, teacher).recover() == 2
    # Killed between commit and delete: the same segment alone, then beside another one.
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / segment.name, segment)
    assert ledger(tables, teacher).recover() == 0
    write_segment(str(folder), [call("twice-2")])
    shutil.copy(tmp_path / segment.name, segment)
    assert ledger(tables, teacher).recover() == 1
    assert len(get(tables, "llm_calls", "request_id")) == 3


@pytest.mark.long
def test_a_segment_that_comes_after_another_run_has_asked_adds_no_second_row(
    scratch_tables: Make, teacher: Teacher
) -> None:
    """An executor may outlive its driver, and flush what the next run has asked again."""
    tables = scratch_tables()
    assert ledger(tables, teacher).ask(requests(tables, "late", 1)) == 1
    write_segment(f"{tables.files}/wal/killed-1/0", [call("late-0"), call("late-1")])
    assert ledger(tables, teacher, "run-2").recover() == 1
    assert sorted(get(tables, "llm_calls", "run_id")) == ["killed", "run-1"]


@pytest.mark.long
def test_a_wave_that_is_committed_twice_adds_no_second_row(
    scratch_tables: Make, teacher: Teacher, tmp_path: Path
) -> None:
    tables = scratch_tables()
    folder, began, now = f"{tables.files}/wal/run-1-1", time.time(), datetime.now(timezone.utc)
    segment = Path(write_segment(f"{folder}/0", [call("wave-0", run_id="run-1", created_at=now)]))
    shutil.copy(segment, tmp_path / segment.name)
    asking = ledger(tables, teacher)
    assert asking.commit_wave(folder, began) == 1
    shutil.copy(tmp_path / segment.name, segment)
    write_segment(f"{folder}/1", [call("wave-1", run_id="run-1", created_at=now)])
    assert asking.commit_wave(folder, began) == 1
    assert len(set(get(tables, "llm_calls", "request_id"))) == len(get(tables, "llm_calls", "request_id")) == 2


def test_what_is_still_to_be_asked_is_found_by_the_ids_alone(
    scratch_tables: Make, teacher: Teacher, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = scratch_tables()
    ledger(tables, teacher).ask(requests(tables, "ids", 2))
    ledger(tables, teacher).unanswered(requests(tables, "ids", 3)).explain()
    assert re.findall(r"ReadSchema: (\S+)", capsys.readouterr().out) == ["struct<request_id:string>"]


@pytest.mark.long
def test_a_half_written_segment_is_ignored_and_its_requests_are_asked(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    segment = Path(write_segment(f"{tables.files}/wal/killed-1/0", [call("half-0")]))
    segment.write_bytes(segment.read_bytes()[:-20])
    assert ledger(tables, teacher).recover() == 0
    assert get(tables, "llm_calls", "request_id") == []
    assert ledger(tables, teacher).ask(requests(tables, "half", 1)) == 1
    assert get(tables, "llm_calls", "run_id") == ["run-1"]


@pytest.mark.long
def test_the_last_attempt_of_a_request_counts(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    segments = [call("again", status="failed"), call("again", attempt=1, response="better"), call("other")]
    write_segment(f"{tables.files}/wal/killed-1/0", segments)
    ledger(tables, teacher).recover()
    ids = [(request(name)["request_id"],) for name in ("again", "again", "other")]
    asked = tables.spark.createDataFrame(ids, "request_id string")
    assert {row["response"] for row in latest_calls(tables, asked).collect()} == {"better", "an answer"}
    assert [row["response"] for row in latest_calls(tables, asked.limit(1)).collect()] == ["better"]


@pytest.mark.parametrize(
    ("endpoint", "kind", "batch"),
    [("transformers", "transformers", 8), ("vllm", "vllm", 256), ("stand-in", "openai", 1)],
)
def test_a_worker_gets_its_engine_with_its_own_batch_size(endpoint: str, kind: str, batch: int) -> None:
    llm: dict[str, Any] = {"endpoint": endpoint, "vllm": {"max_model_len": 4096}}
    spec = engine_spec(make_config("warehouse", llm=llm).llm, [])
    assert (spec.kind, spec.batch_size, json.loads(spec.engine_args)) == (kind, batch, {"max_model_len": 4096})
    assert engine_spec(make_config("warehouse", llm={**llm, "batch_size": 5}).llm, []).batch_size == 5


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"endpoint": "transformers"}, id="transformers"),
        pytest.param({"endpoint": "vllm", "vllm": TINY_VLLM}, marks=needs_vllm, id="vllm"),
    ],
)
@pytest.mark.long
def test_a_model_in_the_workers_answers_into_the_same_ledger(
    scratch_tables: Make, teacher: Teacher, tmp_path: Path, settings: dict[str, Any]
) -> None:
    tables, model = scratch_tables(), make_tiny_model(tmp_path / "model")
    rows = frame(tables, *[request(f"worker-{i}", model) for i in range(5)])
    before = sent(teacher)
    assert ledger(tables, teacher, **settings, device="cpu", batch_size=2, workers=1).ask(rows) == 5
    assert ledger(tables, teacher, "run-2", **settings).ask(rows) == 0
    assert sent(teacher) == before
    calls = get(tables, "llm_calls", "served_model", "prompt_tokens", "attempts")
    assert len(calls) == 5
    assert all(served == model and prompt > 10 for served, prompt, _ in calls)


@pytest.mark.long
def test_many_requests_are_asked_in_waves_and_each_once(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    rows = requests(tables, "waves", 40)
    before = sent(teacher)
    assert ledger(tables, teacher, wave_requests=10).ask(rows) == 40
    assert sent(teacher) - before == 40
    assert len(set(get(tables, "llm_calls", "request_id"))) == 40
    commits = tables.spark.sql(f"DESCRIBE HISTORY {tables.address('llm_calls')}").where("operation = 'WRITE'").count()
    assert 2 <= commits <= 4
    assert [
        path
        for path in Path(tables.files).rglob("*")
        if path.is_file() and path.suffix in (".parquet", ".json") and "scratch" not in path.parts
    ] == []


def test_a_run_whose_warehouse_was_taken_over_asks_no_further_wave(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    asking, before, checks = ledger(tables, teacher, wave_requests=20), sent(teacher), []

    def check() -> None:
        checks.append(sent(teacher))
        if len(checks) > 1:
            raise UserError("the run run-2 has taken this warehouse over")

    asking.before_wave = check
    with pytest.raises(UserError, match="taken this warehouse over"):
        asking.ask(requests(tables, "taken", 40))
    assert len(get(tables, "llm_calls", "request_id")) == sent(teacher) - before == checks[1] - before
    assert 0 < sent(teacher) - before < 40


@pytest.mark.parametrize(
    ("workers", "count"),
    [
        pytest.param(2, 600, id="as many as slots", marks=pytest.mark.long),
        pytest.param(4, 1600, id="more than slots", marks=pytest.mark.long),
    ],
)
def test_the_bound_in_flight_is_kept_and_used(scratch_tables: Make, teacher: Teacher, workers: int, count: int) -> None:
    tables, bound = scratch_tables(), 12
    with start_teacher(Faults(latency_s=0.25)) as slow:
        rows = requests(tables, f"flight-{workers}", count)
        asking = ledger(tables, slow, workers=workers, max_in_flight=bound)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(asking.ask, rows)
            before, after = steady_part(slow, count // 5, count * 4 // 5)
            assert asked.result() == count
        assert slow.stats()["peak_in_flight"] <= bound
    seconds, flown = after[0] - before[0], after[1]["request_seconds"] - before[1]["request_seconds"]
    assert flown / seconds >= 0.9 * bound


def steady_part(teacher: Teacher, first: int, last: int) -> list[tuple[float, dict[str, Any]]]:
    """When the server had seen so many requests, and what it said of itself then."""
    seen = []
    for count in (first, last):
        while (said := teacher.stats())["requests"] < count:
            time.sleep(0.02)
        seen.append((time.monotonic(), said))
    return seen


@pytest.mark.long
def test_where_workers_reach_no_storage_the_answers_come_home_with_the_wave(
    scratch_tables: Make, teacher: Teacher
) -> None:
    tables = scratch_tables()
    rows = requests(tables, "home", 60)
    with start_teacher(Faults(latency_s=0.02)) as server:
        settings = {"write_ahead": False, "max_in_flight": 5, "workers": 2, "base_urls": [server.base_url]}
        assert ledger(tables, teacher, **settings).ask(rows) == 60
        assert ledger(tables, teacher, "run-2", **settings).ask(rows) == 0
        seen = server.stats()
    assert (seen["requests"], seen["peak_in_flight"] <= 5) == (60, True)
    assert get(tables, "llm_calls", "status") == ["ok"] * 60
    assert not list(Path(tables.files).glob("wal/**/*.parquet"))


def test_requests_of_one_seed_go_to_one_server(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    with start_teacher() as other:
        rows = [request(f"seed-{i}") | {"prefix": f"seed-{i // 8}"} for i in range(64)]
        before = sent(teacher)
        both = [teacher.base_url, other.base_url]
        assert ledger(tables, teacher, base_urls=both).ask(frame(tables, *rows)) == 64
        here, there = sent(teacher) - before, sent(other)
    assert here + there == 64
    assert here % 8 == there % 8 == 0
    assert min(here, there) > 0


def test_failed_calls_are_asked_once_more_when_that_is_wanted(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    teacher.set_faults(error_500=1.0)
    rows = requests(tables, "retry", 3)
    ledger(tables, teacher).ask(rows)
    retrying = ledger(tables, teacher, "run-2", retry_failed=True)
    assert retrying.ask(rows) == 3
    assert retrying.ask(rows) == 0, "what fails again has had its chance"
    teacher.set_faults(error_500=0.0)
    assert (
        ledger(tables, teacher, "run-3", retry_failed=True).ask(rows.unionByName(requests(tables, "retry-new", 1))) == 4
    )
    assert ledger(tables, teacher, "run-4", retry_failed=True).ask(rows) == 0
    assert sorted(get(tables, "llm_calls", "attempt")) == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert {row["status"] for row in latest_calls(tables, rows).collect()} == {"ok"}


def test_an_outage_stops_the_run_and_fails_no_row(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    teacher.set_faults(error_500=1.0)
    rows = requests(tables, "outage", 60)
    with pytest.raises(UserError, match=r"20 requests in a row got no answer: gave up after 1 try; the last: HTTP 500"):
        ledger(tables, teacher, workers=1).ask(rows)
    assert get(tables, "llm_calls", "request_id") == []
    teacher.set_faults(error_500=0.0)
    assert ledger(tables, teacher).ask(rows) == 60


def test_whatever_goes_wrong_each_request_ends_as_an_answer_or_a_row_with_a_reason(
    scratch_tables: Make, teacher: Teacher
) -> None:
    tables = scratch_tables()
    teacher.set_faults(error_500=0.2, error_429=0.1, reset=0.05, hang=0.05, cut=0.05, garbage=0.05, empty=0.05)
    teacher.set_faults(wrong_schema=0.05, surrogate=0.1, large=0.1, hang_s=60)
    rows = requests(tables, "everything", 100)
    assert ledger(tables, teacher, max_attempts=4, bad_answers=1, request_timeout_s=1.0).ask(rows) == 100
    teacher.set_faults(**asdict(Faults()))
    calls = [row.asDict() for row in tables.read("llm_calls").collect()]
    assert len(calls) == len({call["request_id"] for call in calls}) == 100
    asking = Asking("probe", "stand-in", PARAMS)
    for call in calls:
        parsed = read_answer(call, asking)
        assert (parsed.value is None) == bool(parsed.error)
        assert bool(call["error"]) == (call["status"] == "failed")
    responses = [call["response"] or "" for call in calls]
    assert any(len(text) > 1_000_000 for text in responses), "1 MB arrives whole"
    assert any("half a pair: \ufffd" in text for text in responses), "what is no character is marked"
    assert {"stop", "length"} <= {call["finish_reason"] for call in calls}


PRICES = {"stand-in": {"prompt": 1_000.0, "completion": 1_000.0}}


@pytest.mark.parametrize(
    ("budget", "column"),
    [
        ({"max_cost": 0.2}, "cost"),
        pytest.param({"max_requests": 5}, "attempts", marks=pytest.mark.long),
        pytest.param({"max_tokens": 200}, "prompt_tokens + completion_tokens", marks=pytest.mark.long),
    ],
    ids=lambda value: str(value),
)
def test_a_budget_is_a_ceiling_and_a_larger_one_pays_only_the_rest(
    scratch_tables: Make, teacher: Teacher, budget: dict[str, Any], column: str
) -> None:
    tables = scratch_tables()
    rows = requests(tables, f"budget-{column}", 12)
    before = sent(teacher)
    with pytest.raises(BudgetStop) as stopped:
        ledger(tables, teacher, budget=budget, prices=PRICES).ask(rows)
    (limit,) = budget.values()
    spent = tables.read("llm_calls").selectExpr(f"sum({column})").first()
    assert spent is not None
    assert 0 < spent[0] <= limit
    paid = sent(teacher) - before
    assert 0 < paid < 12
    assert f"{12 - paid} requests left" in str(stopped.value)
    larger = dict.fromkeys(budget, 1000000)
    assert ledger(tables, teacher, "run-2", budget=larger, prices=PRICES).ask(rows) == 12 - paid
    assert sent(teacher) - before == 12


@pytest.mark.long
def test_a_step_has_a_ceiling_of_its_own_within_that_of_the_run(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    asking = ledger(tables, teacher, budget={"max_requests": 9, "steps": {"refine": {"max_requests": 4}}})
    asking.spending.step = "synthesize"
    assert asking.ask(requests(tables, "first", 3)) == 3
    asking.spending.step = "refine"
    with pytest.raises(BudgetStop, match=r"7 requests, .* 6 requests left"):
        asking.ask(requests(tables, "second", 10))
    asking.spending.step = "synthesize"
    with pytest.raises(BudgetStop, match=r"9 requests, .* 8 requests left"):
        asking.ask(requests(tables, "third", 10))


@pytest.mark.long
def test_a_budget_is_used_to_its_end(scratch_tables: Make, teacher: Teacher) -> None:
    """What answers leave of their worst case is spent on the next: a run stops when not even one more request fits."""
    tables = scratch_tables()
    largest = 50 + len("ledger: whole-99") + 60
    budget = {"max_tokens": 40 * largest}
    asking = ledger(tables, teacher, budget=budget)
    with pytest.raises(BudgetStop):
        asking.ask(requests(tables, "whole", 400))
    assert budget["max_tokens"] - largest < asking.spending.total.tokens <= budget["max_tokens"]


@pytest.mark.long
def test_tries_count_against_the_budget(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    teacher.set_faults(error_500=0.5)
    before = sent(teacher)
    with pytest.raises(BudgetStop):
        ledger(tables, teacher, max_attempts=2, budget={"max_requests": 7}).ask(requests(tables, "tries", 20))
    assert 0 < sent(teacher) - before <= 7


def test_a_cost_ceiling_needs_a_price_for_every_model(scratch_tables: Make, teacher: Teacher) -> None:
    with pytest.raises(UserError, match=r"llm\.prices has no price for stand-in"):
        ledger(scratch_tables(), teacher, budget={"max_cost": 1.0})


def test_a_ceiling_of_money_is_kept_by_models_outside_of_the_settings_too(
    scratch_tables: Make, teacher: Teacher
) -> None:
    tables = scratch_tables()
    asking, before = ledger(tables, teacher, budget={"max_cost": 1.0}, prices=PRICES), sent(teacher)
    with pytest.raises(UserError, match=r"max_cost is set, but llm\.prices has no price for student"):
        asking.ask(frame(tables, request("unpriced", "student")))
    assert sent(teacher) == before


def test_a_wrong_key_stops_the_run_with_the_servers_words(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    teacher.set_faults(key="right")
    with pytest.raises(UserError, match=r"OPENAI_API_KEY.*Incorrect API key"):
        ledger(tables, teacher).ask(requests(tables, "key", 4))
    assert get(tables, "llm_calls", "request_id") == []


def test_an_unknown_model_stops_the_run_and_what_was_paid_stays(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    good = requests(tables, "good", 3)
    unknown = frame(tables, *[request(f"zz-{i}", "gpt-none") for i in range(3)])
    stopped = ledger(tables, teacher, workers=1, max_in_flight=1)
    with pytest.raises(UserError, match=r"gpt-none.*does not exist"):
        stopped.ask(good.unionByName(unknown))
    assert set(get(tables, "llm_calls", "model")) == {"stand-in"}
    paid = len(get(tables, "llm_calls", "request_id"))
    assert paid > 0
    assert ledger(tables, teacher).ask(good) == 3 - paid


@pytest.mark.parametrize(
    ("llm", "words"),
    [
        ({"base_urls": ["http://127.0.0.1:9/v1"]}, "cannot be reached"),
        (
            {"base_urls": ["https://llm.example.org/v1"], "api_key_env": "BOOSTQA_UNSET_KEY"},
            "BOOSTQA_UNSET_KEY is not set",
        ),
        ({"base_urls": ["http://llm.example.org/v1"]}, "use https"),
    ],
    ids=["unreachable", "no key", "not encrypted"],
)
def test_an_endpoint_that_can_not_work_is_one_clear_line(
    scratch_tables: Make, teacher: Teacher, llm: dict[str, Any], words: str
) -> None:
    tables = scratch_tables()
    with pytest.raises(UserError, match=words) as stopped:
        ledger(tables, teacher, **llm).ask(requests(tables, "nowhere", 2))
    assert "\n" not in str(stopped.value)
    assert get(tables, "llm_calls", "request_id") == []


def test_nothing_to_ask_needs_no_endpoint(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()

    def no_urls() -> list[str]:
        raise AssertionError("the endpoint was asked for")

    silent = Ledger(tables, make_config(tables.root).llm, "run-1", no_urls)
    assert silent.ask(requests(tables, "none", 3).limit(0)) == 0
