"""The data card of an export: what is in it, where it comes from, who answered, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udfs.engines.teacher_rules import MODEL

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from etl.step import Job

PLACEHOLDER_NOTE = (
    "The answers in this set are placeholders: they come from boostqa's stand-in teacher, a rule-based server for trying things out, "
    "not from a language model. Do not train on them."
)


def _table(title: str, rows: list[tuple[object, ...]], header: tuple[str, ...]) -> list[str]:
    lines = ["", f"## {title}", "", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _counts(rows: DataFrame, *columns: str) -> list[tuple[object, ...]]:
    from pyspark.sql import functions as F

    counted = rows.groupBy(*columns).agg(F.count("*").alias("n"), F.sum("n_tokens").alias("tokens")).collect()
    return sorted((tuple(row) for row in counted), key=str)


def data_card(job: Job, mix_id: str, rows: DataFrame) -> str:
    """Writes the card in Markdown."""
    from pyspark.sql import functions as F

    by_model = _counts(rows.withColumn("model", F.explode("models")), "model")
    lines = [f"# {job.config.run.name}: training set {mix_id[:12]}", ""]
    if any(row[0] == MODEL for row in by_model):
        lines += [f"> {PLACEHOLDER_NOTE}", ""]
    total = rows.agg(F.count("*"), F.sum("n_tokens")).first()
    lines.append(
        f"{total[0]} questions with answers, {total[1] or 0} tokens by `{job.config.ingest.tokenizer}`."
        if total
        else "Empty."
    )
    lines += _table("Branches and grades", _counts(rows, "branch", "grade"), ("branch", "grade", "rows", "tokens"))
    lines += _table("Languages", _counts(rows, "lang"), ("language", "rows", "tokens"))
    lines += _table("Models that wrote or refined", by_model, ("model", "rows", "tokens"))
    licences = _counts(rows.withColumn("licence", F.explode("licenses")), "licence")
    lines += _table("Licences of the seeds", licences, ("licence", "rows", "tokens"))
    calls = (
        job.tables.read("llm_calls")
        .groupBy("task", "model")
        .agg(F.count("*"), F.sum("prompt_tokens"), F.sum("completion_tokens"), F.sum("cost"))
    )
    paid = sorted((tuple(row) for row in calls.collect()), key=str)
    lines += _table(
        "Calls of this warehouse", paid, ("task", "model", "calls", "prompt tokens", "completion tokens", "cost")
    )
    # The longest comes last.
    lines += _table("Cells", _counts(rows, "discipline", "difficulty"), ("discipline", "difficulty", "rows", "tokens"))
    return "\n".join(lines) + "\n"
