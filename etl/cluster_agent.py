"""The LLM cluster agent over Spark: draws rounds by key hashes, asks for criteria, clusters and verdicts, and scores what came of them."""

from __future__ import annotations

import json
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.asking import ask, map_rows, read_rows
from etl.step import Job
from udfs.cluster_agent import (
    Draw,
    assumed_clusters,
    assumed_criteria,
    criteria_text,
    draw_of,
    finish,
    judged,
    scores,
)
from udfs.requests import Asking
from udfs.tasks import Parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import Column, DataFrame

    from etl.config import Config

CLUSTERS = "array<struct<cluster:int,members:array<int>,reasoning:string,valid:boolean,reason:string>>"
CRITERIA_DDL = "items string, lang string, criteria string, criteria_request_id string, criteria_error string"
CLUSTERS_DDL = f"items string, round int, clusters {CLUSTERS}, clusters_request_id string, clusters_error string"
JUDGED_DDL = f"items string, round int, judged {CLUSTERS}, judged_request_id string, judged_error string"
ROUNDS_DDL = (
    f"items string, round int, item_ids array<string>, criteria string, clusters {CLUSTERS}, n_clusters int, n_kept int, "
    "status string, reason string, error string, request_ids array<string>"
)
SCORES_DDL = "items string, metric string, value double, n bigint, ci_low double, ci_high double"
ROUND = ["items", "round"]
SCORED = ["inputs_id", "items", "scope", "metric", "value", "n", "params"]
# Draws that must not be alike are hashed under different numbers; passes count from 0.
OF_CRITERIA, OF_POOL = -2, -1


def is_on(config: Config) -> bool:
    """Tells whether the config switches the agent on."""
    return config.measure.cluster_agent.rounds > 0


def hangs_on(config: Config) -> str:
    """Names what the agent's rounds hang on besides the settings of `measure`; nothing where it is off."""
    return repr((config.llm.models.judge, config.run.seed)) if is_on(config) else ""


def run_agent(job: Job, rows: DataFrame, counts: Mapping[str, int]) -> dict[str, float]:
    """Runs every round and writes `cluster_rounds` and its scores in `diversity`; returns the step's figures.

    `rows` has items, item_id, text, lang; `counts` is how many there are of each `items`. What the ledger has answered is not asked again. Raises
    BudgetStop and UserError as `etl.asking.ask` does.
    """
    agent = job.config.measure.cluster_agent
    cut = F.substring("text", 1, agent.max_text_chars).alias("text")
    texts = {name: rows.where(F.col("items") == name).select("items", "item_id", cut, "lang") for name in agent.items}
    draws = {name: draw_of(counts.get(name, 0), agent.samples, agent.rounds) for name in agent.items}
    drawn = job.tables.scratch("cluster_drawn", _union([_drawn(job, texts[name], draws[name]) for name in texts]))
    # Without a round, there is nothing to find criteria for.
    sampled = _union([_sample(job, texts[name], bool(draws[name].per_pass)) for name in texts])
    criteria = job.tables.scratch("cluster_criteria", _criteria(job, sampled))
    clustered = job.tables.scratch("cluster_clusters", _clusters(job, drawn.join(criteria, "items")))
    verified = _verdicts(job, clustered.join(drawn, ROUND).join(criteria.select("items", "lang"), "items"))
    known = _every_round(job).join(drawn.drop("texts"), ROUND, "left").join(criteria.drop("lang"), "items", "left")
    fates = known.join(clustered, ROUND, "left").join(verified, ROUND, "left")
    rounds = job.tables.scratch("cluster_rounds", map_rows(fates, lambda row: [finish(row)], ROUNDS_DDL))
    return _record(job, rounds)


def _union(frames: list[DataFrame]) -> DataFrame:
    return reduce(lambda a, b: a.unionByName(b), frames)


def _hash(job: Job, draw: Column | int, *columns: str) -> Column:
    return F.xxhash64(F.lit(job.config.run.seed).cast("bigint"), F.lit(draw), *columns)


def _every_round(job: Job) -> DataFrame:
    agent = job.config.measure.cluster_agent
    names = F.explode(F.array(*[F.lit(name) for name in agent.items])).alias("items")
    return job.spark.range(agent.rounds).select(names, F.col("id").cast("int").alias("round"))


def _drawn(job: Job, texts: DataFrame, draw: Draw) -> DataFrame:
    """Returns the texts of every round: items, round, item_ids, texts, in the order in which they are shown."""
    agent = job.config.measure.cluster_agent
    size = agent.samples
    # What the rounds need and no more: from here on the work is bounded by the settings, whatever the number of texts.
    pool = texts.select("items", "item_id", _hash(job, OF_POOL, "item_id").alias("h")).orderBy("h", "item_id")
    passes = F.explode(F.sequence(F.lit(0), F.lit(draw.passes - 1))).alias("pass")
    shown = pool.limit(agent.rounds * size).select("items", "item_id", passes)
    order = Window.partitionBy("pass").orderBy(_hash(job, F.col("pass"), "item_id"), "item_id")
    placed = shown.withColumn("place", F.row_number().over(order) - 1).where(F.col("place") < draw.per_pass * size)
    number = F.col("pass") * draw.per_pass + F.floor(F.col("place") / size)
    numbered = placed.withColumn("round", number.cast("int")).where(F.col("round") < agent.rounds)
    with_texts = numbered.join(texts.select("item_id", "text"), "item_id")
    listed = with_texts.groupBy(*ROUND).agg(
        F.array_sort(F.collect_list(F.struct("place", "item_id", "text"))).alias("s")
    )
    return listed.select(*ROUND, F.col("s.item_id").alias("item_ids"), F.col("s.text").alias("texts"))


def _sample(job: Job, texts: DataFrame, wanted: bool) -> DataFrame:
    """Returns the few texts that the criteria are found from, as one row: items, texts, lang (that of most of them)."""
    size = job.config.measure.cluster_agent.criteria_samples if wanted else 0
    few = texts.withColumn("h", _hash(job, OF_CRITERIA, "item_id")).orderBy("h", "item_id").limit(size)
    chinese = F.avg(F.coalesce(F.col("lang").startswith("zh"), F.lit(False)).cast("int"))
    listed = F.array_sort(F.collect_list(F.struct("h", "item_id", "text"))).alias("s")
    found = few.groupBy("items").agg(listed, F.when(chinese > 0.5, "zh").otherwise("en").alias("lang"))
    return found.select("items", F.col("s.text").alias("texts"), "lang")


def _asking(job: Job, task: str) -> Asking:
    return Asking(task, job.config.llm.models.judge, job.config.measure.cluster_agent.params)


def _asked(rows: DataFrame, *columns: str) -> DataFrame:
    # Rounds share no prefix that a server would have to be chosen by: all of them begin with the same criteria.
    prefix = F.concat_ws("/", "items", "round" if "round" in rows.columns else "items")
    return rows.select(*columns, F.lit(0).alias("sample"), prefix.alias("prefix"))


def _criteria(job: Job, sampled: DataFrame) -> DataFrame:
    asking = _asking(job, "cluster_criteria")
    answers = ask(job, asking.task, _asked(sampled, "items", "lang", "texts"), asking, assumed_criteria())
    return read_rows(answers, asking, criteria_rows, CRITERIA_DDL)


def _clusters(job: Job, rounds: DataFrame) -> DataFrame:
    asking = _asking(job, "cluster_texts")
    todo = _asked(rounds.where("criteria IS NOT NULL"), *ROUND, "lang", "texts", "criteria")
    answers = ask(job, asking.task, todo, asking, assumed_clusters(job.config.measure.cluster_agent.samples))
    return read_rows(answers, asking, partial(part_rows, "clusters"), CLUSTERS_DDL)


def _verdicts(job: Job, rounds: DataFrame) -> DataFrame:
    asking = _asking(job, "cluster_verify")
    todo = _asked(rounds.where("exists(clusters, c -> size(c.members) > 1)"), *ROUND, "lang", "texts", "clusters")
    answers = ask(job, asking.task, todo, asking)
    return read_rows(answers, asking, partial(part_rows, "judged"), JUDGED_DDL)


def criteria_rows(row: dict[str, Any], parsed: Parsed) -> list[dict[str, Any]]:
    """Turns the answer on criteria into the lines that all rounds are asked with, or the error."""
    out = {name: row[name] for name in ("items", "lang")} | {"criteria_request_id": row["request_id"]}
    if parsed.value is None:
        return [{**out, "criteria_error": parsed.error}]
    return [{**out, "criteria": criteria_text(parsed.value)}]


def part_rows(part: str, row: dict[str, Any], parsed: Parsed) -> list[dict[str, Any]]:
    """Turns the answer on a round's `clusters`, or the verdicts on them (`judged`), into that part of the round, or the error."""
    out = {name: row[name] for name in ROUND} | {f"{part}_request_id": row["request_id"]}
    if parsed.value is None:
        return [{**out, f"{part}_error": parsed.error}]
    return [{**out, part: judged(row["clusters"], parsed.value) if part == "judged" else parsed.value}]


def _record(job: Job, rounds: DataFrame) -> dict[str, float]:
    config = job.config
    same = {
        "inputs_id": F.lit(job.fingerprint),
        "seed": F.lit(config.run.seed).cast("bigint"),
        "model": F.lit(config.llm.models.judge),
        "samples": F.lit(config.measure.cluster_agent.samples),
    }
    job.tables.append_new("cluster_rounds", rounds.withColumns(same))
    fates = rounds.groupBy("items", F.coalesce("reason", "status").alias("fate")).count().collect()
    figures = {f"cluster_agent_{row['items']}_rounds_{row['fate']}": float(row["count"]) for row in fates}
    return figures | _record_scores(job, rounds)


def _record_scores(job: Job, rounds: DataFrame) -> dict[str, float]:
    """Writes the scores of the rounds that came to their end, and tells them."""
    samples, seed = job.config.measure.cluster_agent.samples, job.config.run.seed

    def score(group: pd.DataFrame) -> pd.DataFrame:
        return score_rows(group, samples, seed)

    ended = rounds.where("status = 'ok'").select(*ROUND, "n_clusters", "n_kept")
    same = {"inputs_id": F.lit(job.fingerprint), "scope": F.lit("all"), "params": F.lit(_params(job))}
    made = job.tables.scratch(
        "cluster_scores", ended.groupBy("items").applyInPandas(score, SCORES_DDL).withColumns(same)
    )
    # Calls that were asked once more (--retry-failed) bring more rounds: then a score gives way to the new one.
    known = job.tables.read("diversity").where(F.col("inputs_id") == job.fingerprint).select(*SCORED)
    job.tables.upsert("diversity", job.tables.scratch("cluster_scores_new", made.join(known, SCORED, "left_anti")))
    figures = {}
    for row in made.orderBy("items", "metric").collect():
        job.say(f"{row['metric']} of {row['items']}: {row['value']:.2f}, {row['n']} rounds of {samples} texts")
        figures[f"{row['metric']}_{row['items']}"] = row["value"]
    return figures


def _params(job: Job) -> str:
    agent = job.config.measure.cluster_agent
    named = {"model": job.config.llm.models.judge, "rounds": agent.rounds, "samples": agent.samples}
    return json.dumps({**named, "criteria_samples": agent.criteria_samples, "seed": job.config.run.seed})


def score_rows(rounds: pd.DataFrame, samples: int, seed: int) -> pd.DataFrame:
    """Scores the rounds of one kind of items: a row per metric, `n` the rounds behind it."""
    counts = list(zip(rounds["n_clusters"].tolist(), rounds["n_kept"].tolist(), strict=True))
    rows = [
        (rounds["items"].iloc[0], metric, found.value, len(counts), found.low, found.high)
        for metric, found in scores(counts, samples, seed).items()
    ]
    return pd.DataFrame(rows, columns=["items", "metric", "value", "n", "ci_low", "ci_high"])
