from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etl.cli import main
from etl.commands.plan import notes, shown
from etl.config import load_config
from etl.dry_run import Requests, StepPlan
from tests.etl.tiny import delta_versions

if TYPE_CHECKING:
    from tests.conftest import SampleRun

PRICED = load_config("conf/local.yaml", ["llm.prices={big: {prompt: 1.0, completion: 4.0}}"])
PLANS = [
    StepPlan("ingest", "runs"),
    StepPlan("curate", "unchanged"),
    StepPlan("synthesize", "runs", asks=(Requests("big", 100, 40, 500_000, 250_000), Requests("big", 10, 10, 0, 0))),
    StepPlan("refine", "unknown", note="not known before synthesize has run"),
]


def test_each_step_is_a_line_and_the_sum_is_the_last() -> None:
    lines = [line.split() for line in shown(PLANS, PRICED).splitlines()]
    assert "looks for new and changed files" in shown(PLANS, PRICED)
    assert "not known before synthesize has run" in shown(PLANS, PRICED)
    assert lines[4] == ["synthesize", "asks", "big", "100", "40", "60", "500,000", "250,000", "1.5000"]
    assert lines[-1] == ["sum", "of", "what", "is", "known", "110", "50", "60", "500,000", "250,000", "1.5000"]


def test_a_model_without_a_price_has_no_cost() -> None:
    free = load_config("conf/local.yaml")
    assert "no price" in shown(PLANS, free)
    assert any("No cost for big: give prices under llm.prices" in note for note in notes(PLANS, free))
    assert not any("No cost" in note for note in notes(PLANS, PRICED))


def planned(run: SampleRun, capsys: pytest.CaptureFixture[str], *sets: str) -> dict[str, list[str]]:
    capsys.readouterr()
    every = [f"tables.warehouse={run.warehouse}", *sets]
    assert main(["plan", "--conf", "conf/local.yaml", *[part for text in every for part in ("--set", text)]]) == 0
    out = capsys.readouterr().out
    return {line.split()[0]: line.split() for line in out.splitlines() if line}


def test_after_a_run_there_is_nothing_to_ask(sample_run: SampleRun, capsys: pytest.CaptureFixture[str]) -> None:
    lines = planned(sample_run, capsys)
    assert lines["sum"][1:4] == ["0", "0", "0"]
    assert lines["refine"] == ["refine", "nothing:", "unchanged"]


@pytest.mark.long
def test_another_refiner_pays_the_refiner_again_and_nothing_is_written(
    sample_run: SampleRun, capsys: pytest.CaptureFixture[str]
) -> None:
    before = delta_versions(sample_run.tables)
    prices = "llm.prices={other: {prompt: 1.0, completion: 1.0}}"
    urls = ("llm.endpoint=urls", "llm.base_urls=[http://127.0.0.1:9/v1]")
    lines = planned(sample_run, capsys, *urls, "llm.models.refiner=other", prices)
    asked = len({row["request_id"] for row in sample_run.rows("refinements")})
    name, _, model, requests, hits, to_ask, prompt, answer, cost = lines["refine"]
    assert (name, model, requests, hits, to_ask) == ("refine", "other", str(asked), "0", str(asked))
    assert int(prompt.replace(",", "")) > 100 * asked
    assert int(answer.replace(",", "")) == 2000 * asked
    assert float(cost) > 0
    assert lines["synthesize"] == ["synthesize", "nothing:", "unchanged"]
    assert delta_versions(sample_run.tables) == before


def test_before_the_first_run_it_says_what_is_not_known(
    sample_run: SampleRun, tmp_path: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = planned(sample_run, capsys, f"tables.warehouse={tmp_path}/new")
    assert lines["curate"][1:] == ["not", "known", "before", "ingest", "has", "run"]
    assert lines["refine"][1:4] == ["not", "known", "before"]
