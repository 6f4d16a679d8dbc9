"""Figures made by hand, for the tests of the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from etl.report.figures import (
    Benchmark,
    CallError,
    Calls,
    CellMap,
    Dedup,
    Facts,
    Figures,
    Measured,
    Pair,
    Question,
    Reason,
    Stage,
    StepRun,
    Text,
    Unreadable,
)

FACTS = Facts("tiny", "20300101-000000-abc", "2030-01-01 00:00 UTC", 75.0, "s3a://lake/tiny", "0.0", "mini", 2, 1234)
CALLS = Calls("refine", "some-model", 10, 4, 11, 5000, 700, 0.25, 1, 1.5)


def question(number: int, **changes: Any) -> Question:
    """One row of the sample: even numbers are English physics of level 2, odd ones Chinese law of level 4."""
    even = number % 2 == 0
    made = Question(
        qa_id=f"qa-{number:04d}",
        question=f"What is fact {number}?" if even else f"第{number}条是什么？",
        answer=f"It is {number}.",
        draft_answer=f"Perhaps {number}.",
        lang="en" if even else "zh",
        discipline="science" if even else "law",
        difficulty=2 if even else 4,
        target_difficulty=2,
        branch="multi_grade",
        grade="high_school",
        status="exported" if number % 3 else "rejected",
        reason="" if number % 3 else "too_easy_v1",
        quality=0.5,
        seed_id=f"doc-{number}",
        seed="The seed.",
    )
    return replace(made, **changes)


def figures(**changes: Any) -> Figures:
    """A full set of figures; `changes` replace parts of it."""
    text = Text("doc-1", "A passage.", "en", "kept: doc-2")
    made = Figures(
        facts=FACTS,
        funnel=(
            Stage("documents", "passages", 90, {"bad_json": 10}),
            Stage("seeds", "passages", 80, {"too_short_v1": 10}),
            Stage("drafts", "questions", 40, {}),
            Stage("exported", "questions", None, {}),
        ),
        reasons=(Reason("seeds", "too_short_v1", 10, (text,)),),
        quarantine=(Reason("documents", "bad_json", 10, (Text("a.jsonl 3", "{", "und", "no closing brace"),)),),
        maps=(
            CellMap("seeds", {("law", 4): 3.0, ("science", 2): 48.0, ("", 0): 5.0}),
            CellMap("deficiency", {("law", 4): 0.75}),
            CellMap("planned_tokens", {("law", 4): 123456.0}),
            CellMap("questions", {("law", 4): 6.0, ("science", 2): 7.0}),
        ),
        diversity=(
            Measured("documents", "all", 80, {"vendi_q1": (40.0, 38.5, 41.5), "distinct_2": (0.7, None, None)}),
            Measured("qa", "cell=law/4", 3, {"vendi_q1": (2.5, None, None)}),
        ),
        dedups=(
            Dedup("questions", 0.9, 40, 4, {"audit_recall": 0.975, "audit_recall_low": 0.871, "audit_recall_high": 0.996, "audit_pairs": 40.0,
                   "audit_rows": 200.0, "orphans": 0.0, "kept_pairs": 0.0},
                  (Pair(text, Text("doc-3", "另一段。", "zh"), 0.91, frozenset({"doc-3"})),)),
        ),
        calls=(CALLS,),
        call_errors=(CallError("refine", "HTTP 500", 1),),
        steps=(StepRun("curate", 1, "done", 90, 80, {"too_short_v1": 10}, 2.5, None),),
        unreadable=(Unreadable("vector", "passages", "unknown_tokens", 20, 80),),
        benchmarks=(Benchmark("some exam", "ngram", 17, 6),),
        sample=tuple(question(i) for i in range(50)),
        names={"science": "Science", "law": "Law"},
    )  # fmt: skip
    return replace(made, **changes)
