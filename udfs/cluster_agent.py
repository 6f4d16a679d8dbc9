"""The LLM cluster agent of arXiv 2410.15226 as arithmetic: which texts a round shows, what becomes of it, and the score over rounds.

`D = mean over rounds of C_i / S_i`, C_i the clusters that round i keeps, S_i its samples a cluster. The paper does not say what becomes of the samples of a
cluster that verification removes, so both readings of S_i have a name. Equal where nothing is removed; both compare at equal K alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from udfs.intervals import Interval, bootstrap

TASKS = ("cluster_criteria", "cluster_texts", "cluster_verify")
# S_i = K / C_i: the samples of removed clusters still count. C_i^2 / K, from 0 to K.
ALL_SAMPLES = "cluster_agent_all_samples"
# S_i = the mean size of the clusters that are kept: the samples of removed ones leave the round.
KEPT_SAMPLES = "cluster_agent_kept_samples"
# C_i itself, from which any other reading can be had.
CLUSTERS = "cluster_agent_clusters"

TOO_FEW = "too_few_texts"
UNUSABLE = "llm_unusable"
# What an answer comes to when none is there to look at: used to count the requests that follow from it.
A_SENTENCE = "Texts belong together when they share this and little of what they say would be missing if one stood for the other."


@dataclass(frozen=True)
class Draw:
    """How rounds are cut out of passes over the texts: each pass is another order, and no text comes twice in one."""

    per_pass: int
    passes: int


def draw_of(texts: int, samples: int, rounds: int) -> Draw:
    """Returns how `rounds` rounds of `samples` different texts are drawn from `texts`; no rounds a pass where there are too few."""
    per_pass = min(texts // samples, rounds)
    return Draw(per_pass, -(-rounds // per_pass) if per_pass else 1)


def criteria_text(value: Mapping[str, Any]) -> str:
    """Writes the value of `cluster_criteria` as the lines that stand at the top of the clustering prompt."""
    metadata = [f"{each['name']}: {each['criteria']}" for each in value["metadata"]]
    metrics = [
        f"{each['name']}, from 1 ({each['levels'][0]}) to 5 ({each['levels'][-1]}): {each['criteria']}"
        for each in value["metrics"]
    ]
    return "\n".join(f"- {' '.join(line.split())}" for line in [*metadata, *metrics])


def needs_verdicts(clusters: Iterable[Mapping[str, Any]]) -> bool:
    """Tells whether there is anything to verify: a cluster of one sample is always valid."""
    return any(len(cluster["members"]) > 1 for cluster in clusters)


def judged(clusters: Iterable[Mapping[str, Any]], verdicts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Adds `valid` and the verdict's `reason` to clusters. A cluster of one sample is valid whatever its verdict."""
    said = {verdict["cluster"]: verdict for verdict in verdicts}
    made = []
    for cluster in clusters:
        alone = len(cluster["members"]) == 1
        verdict = {"valid": True, "reason": "a cluster of one sample"} if alone else said[cluster["cluster"]]
        made.append({**cluster, "valid": bool(verdict["valid"]), "reason": verdict["reason"]})
    return made


def finish(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turns what is known of a round into its row of `cluster_rounds`: `ok` with its clusters counted, or `rejected` with a reason.

    The row has `items`, `round`, and, null where the round did not come so far: `item_ids`; `criteria`, `clusters` and `judged` (the clusters with their
    verdicts), each with the id of its request and the error in words.
    """
    calls = [row[f"{part}_request_id"] for part in ("criteria", "clusters", "judged")]
    out = {
        **{name: row[name] for name in ("items", "round", "item_ids", "criteria", "clusters")},
        "request_ids": [call for call in calls if call is not None],
    }
    if row["item_ids"] is None:
        return {**out, "status": "rejected", "reason": TOO_FEW}
    problem = _problem(row)
    if problem:
        return {**out, "status": "rejected", "reason": UNUSABLE, "error": problem}
    clusters = judged(row["clusters"], []) if row["judged"] is None else row["judged"]
    kept = [cluster for cluster in clusters if cluster["valid"]]
    counts = {"n_clusters": len(kept), "n_kept": sum(len(cluster["members"]) for cluster in kept)}
    return {**out, **counts, "clusters": clusters, "status": "ok"}


def _problem(row: Mapping[str, Any]) -> str:
    for part in ("criteria", "clusters"):
        if row[part] is None:
            return f"{part}: {row[f'{part}_error'] or 'not asked'}"
    if row["judged"] is None and needs_verdicts(row["clusters"]):
        return f"verification: {row['judged_error'] or 'not asked'}"
    return ""


def scores(rounds: Sequence[tuple[int, int]], samples: int, seed: int) -> dict[str, Interval]:
    """Scores rounds (clusters kept, samples in them) of `samples` samples each: metric -> mean with a bootstrap interval over rounds.

    A round that keeps no cluster counts 0. One round has no interval: its ends are nan. Raises ValueError without rounds.
    """
    if not rounds:
        raise ValueError("a score needs at least one round")
    values = {
        ALL_SAMPLES: [clusters**2 / samples for clusters, _ in rounds],
        KEPT_SAMPLES: [clusters**2 / kept if kept else 0.0 for clusters, kept in rounds],
        CLUSTERS: [float(clusters) for clusters, _ in rounds],
    }
    return {metric: _mean(each, seed) for metric, each in values.items()}


def _mean(values: list[float], seed: int) -> Interval:
    # Sorted, and summed exactly: the same for any order of the rounds.
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    return bootstrap(np.sort(values), lambda drawn: float(np.mean(drawn)), seed=seed)._replace(value=mean)


def assumed_criteria() -> str:
    """Writes criteria of the usual length, for counting what would be asked by criteria that are not there yet."""
    name = "a kind of metadata"
    metric = {"name": name, "criteria": A_SENTENCE, "levels": ["a level in a few words"] * 5}
    return json.dumps({"metadata": [{"name": name, "criteria": A_SENTENCE}] * 4, "metrics": [metric] * 4})


def assumed_clusters(samples: int) -> str:
    """Writes clusters of two samples each, for counting what would be verified of clusters that are not there yet."""
    pairs = [list(range(first, min(first + 2, samples + 1))) for first in range(1, samples + 1, 2)]
    made = [{"cluster": n, "samples": pair, "reasoning": A_SENTENCE} for n, pair in enumerate(pairs, 1)]
    return json.dumps({"clusters": made})
