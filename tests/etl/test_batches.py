"""Batches through the ledger: asked once, read by the next run, and forgotten only when the ledger has every answer."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.batches import GO_ON, batch_folder, forget_batches, leaving_batches
from etl.errors import BudgetStop, UserError
from etl.ledger import Ledger
from tests.etl.test_ledger import frame, ledger, request, requests
from tests.etl.tiny import get
from tests.udfs.engines.helpers import batch_spec
from udfs.engines import load_engine
from udfs.engines.batch_intents import INTENT
from udfs.waves import request_of

if TYPE_CHECKING:
    from etl.tables import Tables
    from udfs.engines.teacher_process import Teacher

Make = Callable[[], "Tables"]


def by_batch(tables: Tables, teacher: Teacher, run_id: str = "run-1", **changes: Any) -> Ledger:
    return ledger(tables, teacher, run_id, **{"batch": True, "batch_poll_s": 0.05, **changes})


def open_intents(tables: Tables) -> list[Path]:
    return list(Path(batch_folder(tables.files)).glob(f"*{INTENT}"))


def handed_in(tables: Tables, teacher: Teacher, *names: str, attempt: int = 0) -> None:
    """What a run leaves that is killed after its batch is over, and before anything of it is written down."""
    rows = [request(name) | {"attempt": attempt} for name in names]
    engine = load_engine(batch_spec(teacher.base_url, batch_folder(tables.files)))
    assert len(engine.complete([request_of(row) for row in rows])) == len(names)


def seen(teacher: Teacher) -> int:
    return int(teacher.stats()["requests"])


def test_a_wave_of_batches_fills_the_ledger_and_leaves_nothing_behind(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    rows, before = requests(tables, "by batch", 9), teacher.stats()
    # One place, of which batches need none: the wave still has both its workers.
    assert by_batch(tables, teacher, workers=2, max_in_flight=1).ask(rows) == 9
    after = teacher.stats()
    assert (after["requests"] - before["requests"], after["batches"] - before["batches"]) == (9, 2)
    calls = get(tables, "llm_calls", "status", "attempts", "served_model", "run_id")
    assert calls == [("ok", 1, "stand-in", "run-1")] * 9
    assert by_batch(tables, teacher, "run-2").ask(rows) == 0
    left = [p for p in Path(tables.files).rglob("*") if p.is_file() and not {"scratch", "progress"} & set(p.parts)]
    assert left == []


def test_what_a_killed_run_has_handed_in_is_read_and_not_asked_again(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    handed_in(tables, teacher, *[f"handed {n}" for n in range(5)])
    before = seen(teacher)
    asking = by_batch(tables, teacher)
    assert asking.recover() == 0
    assert len(open_intents(tables)) == 1
    # Another number of workers: the parts of the batch are read by several.
    assert asking.ask(frame(tables, *[request(f"handed {n}") for n in range(8)])) == 8
    assert seen(teacher) - before == 3
    assert len(get(tables, "llm_calls", "request_id")) == 8
    assert open_intents(tables) == []


@pytest.mark.long
def test_an_intent_stays_until_the_ledger_has_all_of_it(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    handed_in(tables, teacher, "stays 0", "stays 1")
    handed_in(tables, teacher, "goes 0")
    asking = by_batch(tables, teacher)
    asking.ask(frame(tables, request("stays 0"), request("goes 0")))
    assert len(open_intents(tables)) == 1
    forget_batches(tables)
    assert len(open_intents(tables)) == 1
    before = seen(teacher)
    asking.ask(frame(tables, request("stays 1")))
    assert (open_intents(tables), seen(teacher) - before) == ([], 0)


@pytest.mark.long
def test_a_run_without_batches_does_not_pay_what_is_handed_in(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    handed_in(tables, teacher, "both ways")
    before = seen(teacher)
    with pytest.raises(UserError, match=r"1 of these requests are in batches .* set llm\.batch to true"):
        ledger(tables, teacher).ask(frame(tables, request("both ways"), request("other")))
    assert seen(teacher) == before
    assert ledger(tables, teacher).ask(frame(tables, request("other"))) == 1


@pytest.mark.long
def test_a_run_at_another_address_does_not_pay_what_is_handed_in(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    handed_in(tables, teacher, "elsewhere")
    before, url = seen(teacher), teacher.base_url
    with pytest.raises(UserError, match=rf"1 of these requests are in batches .* llm\.base_urls to \[{url}\]"):
        by_batch(tables, teacher, base_urls=[f"{url}/"]).ask(frame(tables, request("elsewhere")))
    assert seen(teacher) == before
    assert by_batch(tables, teacher).ask(frame(tables, request("elsewhere"))) == 1
    assert seen(teacher) == before


@pytest.mark.long
def test_failed_calls_are_asked_once_more_also_by_batch(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    teacher.set_faults(error_500=1.0)
    rows = requests(tables, "batch retry", 3)
    assert by_batch(tables, teacher, max_attempts=2).ask(rows) == 3
    assert set(get(tables, "llm_calls", "status", "attempts")) == {("failed", 2)}
    teacher.set_faults(error_500=0.0)
    again = ledger(tables, teacher, "run-2", retry_failed=True, batch=True, batch_poll_s=0.05)
    assert again.ask(rows) == 3
    assert sorted(get(tables, "llm_calls", "attempt", "status")) == [(0, "failed")] * 3 + [(1, "ok")] * 3


@pytest.mark.long
def test_a_budget_is_a_ceiling_for_batches_too(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    rows, before = requests(tables, "batch budget", 12), seen(teacher)
    with pytest.raises(BudgetStop, match="7 requests left"):
        by_batch(tables, teacher, budget={"max_requests": 5}).ask(rows)
    assert seen(teacher) - before == 5
    assert by_batch(tables, teacher, "run-2", budget={"max_requests": 50}).ask(rows) == 7
    assert seen(teacher) - before == 12


def test_a_wrong_key_stops_the_run_with_the_servers_words(scratch_tables: Make, teacher: Teacher) -> None:
    tables = scratch_tables()
    teacher.set_faults(key="right")
    with pytest.raises(UserError, match=r"refuses the key in OPENAI_API_KEY: HTTP 401: Incorrect API key"):
        by_batch(tables, teacher).ask(requests(tables, "batch key", 2))
    assert open_intents(tables) == []


def test_ctrl_c_ends_a_wave_at_once_and_tells_that_its_batches_go_on() -> None:
    told: list[str] = []

    def work() -> None:
        with leaving_batches(told.append):
            signal.raise_signal(signal.SIGINT)
            told.append("the rest")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [GO_ON]
