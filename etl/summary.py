"""What a whole run ends by telling: what was made, where it is, a few of the questions, what it cost, and how to go on."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence

from etl.config import Config
from etl.pipeline import Finished
from etl.report.figures import Figures, Question, Stage
from etl.screen import reasons
from udfs.engines.teacher_rules import MODEL

SHOWN_QUESTIONS = 3
QUESTION_BOUND, ANSWER_BOUND = 300, 400
STAGE_WORDS = {
    "documents": "read into documents",
    "seeds": "kept by the rules: seeds",
    "unique_seeds": "left when each meaning stays once",
    "drafts": "written by the teacher: drafts",
    "refined": "refined",
    "verified": "verified",
    "deduplicated": "left when each meaning stays once",
    "exported": "exported",
}
# One question a request, so that the plan's smallest cells stay small.
SMALL = {
    "plan.total_tokens": "2400",
    "plan.branch_shares": "{multi_grade: 1, high_difficulty: 0}",
    "synthesize.questions_per_request": "1",
    "probe.questions": "0",
}
REAL_ENDPOINT = "https://api.openai.com/v1"
REAL_MODEL = "gpt-4.1-mini"


def summary(run: Finished, config: Config, conf: str, sets: Sequence[str]) -> str:
    """Words a finished run whose export ran. `conf` and `sets` are the arguments it was given."""
    figures = run.figures
    if figures is None:
        raise ValueError("a summary needs the figures of a run that exported")
    parts = [
        funnel(figures),
        places(run, config, given(conf, [text for text in sets if text.startswith("tables")])),
        questions(figures.sample, is_placeholder(config)),
        effort(run, figures),
    ]
    if is_placeholder(config):
        parts.append(next_command(config, conf, sets))
    return "\n" + "\n\n".join(part for part in parts if part)


def is_placeholder(config: Config) -> bool:
    """Tells whether the answers come from the stand-in teacher."""
    return config.llm.endpoint == "stand-in" or MODEL in (config.llm.models.teacher, config.llm.models.refiner)


def funnel(figures: Figures) -> str:
    """Words the way from documents to exported rows, with the rows that each stage dropped."""
    return "\n".join(["From documents to the training set:", *[_stage(stage) for stage in figures.funnel]])


def _stage(stage: Stage) -> str:
    rows = "-" if stage.rows is None else f"{stage.rows:,}"
    lost = reasons(stage.dropped)
    what = "in quarantine: " if stage.name == "documents" else "dropped: "
    more = f"  ({what}{lost})" if lost else ""
    return f"  {rows:>9} {stage.unit:<9} {STAGE_WORDS.get(stage.name, stage.name)}{more}"


def program() -> str:
    """Returns how this program is called here: `boostqa` where that is on the path, else the way it was called (.venv/bin/boostqa)."""
    return "boostqa" if shutil.which("boostqa") or not sys.argv[0].endswith("boostqa") else sys.argv[0]


def given(conf: str, sets: Sequence[str]) -> str:
    """Returns the arguments that name a configuration, as one types them."""
    return shlex.join(["--conf", conf, *[part for text in sets for part in ("--set", text)]])


def places(run: Finished, config: Config, same: str) -> str:
    """Tells where everything is, and how to look at it; `same` are the arguments that name this warehouse."""
    where = config.tables.warehouse or f"{config.tables.catalog}.{config.tables.schema_name}"
    exported = next((ran.outcome.ids["export"] for ran in run.steps if "export" in ran.outcome.ids), "")
    lines = [("training set", exported), ("report", run.report), ("tables", where)]
    lines += [("list them", f"{program()} tables {same}"), ("walk back", f"{program()} trace ID {same}")]
    return "\n".join(f"  {name:<13} {place}" for name, place in lines if place)


def questions(sample: Sequence[Question], placeholder: bool) -> str:
    """Shows a few exported questions, of different disciplines where there are."""
    exported = [question for question in sample if question.status == "exported"]
    first = {question.discipline: question for question in reversed(exported)}
    chosen = [q for q in exported if first[q.discipline] is q][:SHOWN_QUESTIONS]
    if not chosen:
        return ""
    head = "Examples" + (
        ": PLACEHOLDERS by the stand-in teacher, which is no language model. Do not train on them"
        if placeholder
        else ""
    )
    return "\n\n".join([head, *[_question(q, placeholder) for q in chosen]])


def _question(question: Question, placeholder: bool) -> str:
    mark = "PLACEHOLDER " if placeholder else ""
    what = f"{question.discipline}, difficulty {question.difficulty}, {question.grade}"
    return "\n".join(
        [
            f"  {mark}{question.qa_id} [{what}]",
            f"    Q: {_indented(question.question, QUESTION_BOUND)}",
            f"    A: {_indented(question.answer, ANSWER_BOUND)}",
        ]
    )


def _indented(text: str, bound: int) -> str:
    shown = text if len(text) <= bound else text[:bound].rstrip() + " ..."
    return "\n".join(line for line in shown.splitlines() if line.strip()).replace("\n", "\n       ")


def effort(run: Finished, figures: Figures) -> str:
    """Tells what this run took: time, calls, rows written."""
    rows = sum(count for table, count in run.written.items() if table != "steps")
    calls = sum(line.this_run for line in figures.calls)
    known = sum(line.requests for line in figures.calls)
    cost = sum(line.cost for line in figures.calls)
    paid = f", {cost:,.4f} paid for them by llm.prices" if cost else ""
    return f"This run took {duration(run.seconds)}, made {calls:,} LLM calls and wrote {rows:,} rows. The ledger holds {known:,} calls{paid}."


def duration(seconds: float) -> str:
    """Words a duration: 48 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def next_command(config: Config, conf: str, sets: Sequence[str]) -> str:
    """Gives the one command that makes about 20 real questions of the first source, in a warehouse of their own."""
    key = config.llm.api_key_env
    real = {
        "tables.warehouse": f"{(config.tables.warehouse or 'warehouse').rstrip('/')}-real",
        "llm.endpoint": "urls",
        "llm.base_urls": f"[{REAL_ENDPOINT}]",
        "llm.models": "{" + ", ".join(f"{role}: {REAL_MODEL}" for role in config.llm.models.model_dump()) + "}",
        "sources": _first_source(config),
        **SMALL,
    }
    kept = [text for text in sets if text.partition("=")[0].strip() not in real]
    assigned = [*kept, *[f"{name}={value}" for name, value in real.items()]]
    lines = [
        f"{key}=sk-... {program()} run --conf {shlex.quote(conf)}",
        *[f"--set {shlex.quote(text)}" for text in assigned],
    ]
    head = f"About 20 real questions from the source `{config.sources[0].name}`, with a key (other endpoint, other model: change them here):"
    return head + "\n\n  " + " \\\n    ".join(lines)


def _first_source(config: Config) -> str:
    source = config.sources[0].model_dump(exclude_defaults=True)
    return "[" + _flow(source) + "]"


def _flow(value: object) -> str:
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False).strip()
