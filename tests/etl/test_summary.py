from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from etl.cli import build_parser
from etl.config import load_config
from etl.pipeline import Finished, Ran
from etl.preflight import check_before
from etl.report.figures import Calls, Facts, Figures, Question, Stage
from etl.step import Outcome
from etl.summary import duration, summary

ROOT = Path(__file__).resolve().parents[2]
CONF = str(ROOT / "conf/local.yaml")
SETS = ["tables.warehouse=my warehouse", "run.seed=7"]
FACTS = Facts("samples", "run-1", "today", 1.0, "my warehouse", "0.1.0", "minilm", 2, 300)


def question(name: str, discipline: str, status: str = "exported") -> Question:
    words = {"question": f"What is {name}?", "answer": f"{name} is this.\n\nFinal answer: {name}", "draft_answer": ""}
    place = {"lang": "en", "branch": "multi_grade", "grade": "graduate", "discipline": discipline}
    return Question(
        qa_id=f"id-{name}",
        **words,
        **place,
        difficulty=4,
        target_difficulty=4,
        status=status,
        reason="",
        quality=0.9,
        seed_id="s",
        seed="",
    )


def call(this_run: int, requests: int, cost: float = 0.0) -> Calls:
    return Calls("refine", "stand-in", requests, this_run, requests, 10, 10, cost, 0, 0.1)


FIGURES = Figures(
    FACTS,
    funnel=(
        Stage("documents", "passages", 1500, {"bad_json": 20}),
        Stage("seeds", "passages", 1300, {"too_short_v1": 150, "exact_duplicate_v1": 50}),
        Stage("exported", "questions", 324, {}),
    ),
    calls=(call(629, 629),),
    sample=(
        question("a", "physics"),
        question("b", "physics"),
        question("c", "law"),
        question("no", "art", "rejected"),
    ),
)
RUN = Finished(
    "run-1",
    [Ran("export", "done", Outcome(2, 2, ids={"export": "my warehouse/export/abc"}), 1.0)],
    200.0,
    {"documents": 1500, "qa": 400, "steps": 16},
    report="my warehouse/report.html",
    figures=FIGURES,
)


def words(run: Finished = RUN, sets: list[str] = SETS) -> str:
    return summary(run, load_config(CONF, sets), CONF, sets)


def test_the_funnel_tells_every_stage_and_why_rows_were_dropped() -> None:
    lines = [line.strip() for line in words().splitlines()]
    assert "1,500 passages  read into documents  (in quarantine: 20 bad_json)" in lines
    assert "1,300 passages  kept by the rules: seeds  (dropped: 150 too_short_v1, 50 exact_duplicate_v1)" in lines
    assert "324 questions exported" in lines


def test_a_stage_that_has_not_run_is_no_number() -> None:
    run = replace(RUN, figures=replace(FIGURES, funnel=(Stage("exported", "questions", None, {}),)))
    assert "- questions exported" in words(run)


def test_it_tells_where_everything_is_and_how_to_look_at_it() -> None:
    said = words()
    for text in (
        "my warehouse/export/abc",
        "my warehouse/report.html",
        f"boostqa tables --conf {CONF} --set 'tables.warehouse=my warehouse'",
    ):
        assert text in said


def test_it_tells_time_calls_and_rows_of_this_run() -> None:
    assert "This run took 3 min 20 s, made 629 LLM calls and wrote 1,900 rows." in words()
    again = replace(RUN, written={}, seconds=20.0, figures=replace(FIGURES, calls=(call(0, 629, cost=1.5),)))
    said = words(again)
    assert "This run took 20 s, made 0 LLM calls and wrote 0 rows. The ledger holds 629 calls, 1.5000 paid" in said


def test_examples_are_exported_ones_of_different_disciplines_marked_as_placeholders() -> None:
    said = words()
    assert "PLACEHOLDER id-a [physics, difficulty 4, graduate]" in said
    assert "PLACEHOLDER id-c" in said
    assert "id-b" not in said
    assert "id-no" not in said
    assert "Do not train on them" in said


def test_real_answers_are_not_called_placeholders() -> None:
    real = [
        "llm.endpoint=urls",
        "llm.base_urls=[https://api.example.com/v1]",
        "llm.models={teacher: t, refiner: r, annotator: a, judge: j}",
    ]
    said = words(sets=[*SETS, *real])
    assert "PLACEHOLDER" not in said
    assert "real questions" not in said


def test_the_command_for_real_questions_is_one_that_the_command_line_takes() -> None:
    lines = words().partition("OPENAI_API_KEY=sk-... boostqa ")[2].replace("\\\n", " ")
    args = build_parser().parse_args(shlex.split(lines))
    config = load_config(args.conf, args.sets)
    assert config.llm.endpoint == "urls"
    assert config.tables.warehouse == "my warehouse-real"
    assert config.run.seed == 7
    assert [source.name for source in config.sources] == ["science"]
    assert config.sources[0] == load_config(CONF).sources[0]
    assert config.plan.branch_shares.high_difficulty == 0
    check_before(config.model_copy(update={"llm": load_config(CONF).llm}), [])


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_read_at_a_glance(seconds: float, said: str) -> None:
    assert duration(seconds) == said
