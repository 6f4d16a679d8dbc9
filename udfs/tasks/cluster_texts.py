"""Task `cluster_texts`: a few texts sorted into clusters by criteria.

Row: `lang`, `texts` (list of str), `criteria` (lines). Value: list of {cluster (1, 2, ... in the answer's order), members (numbers of texts from 1, sorted),
reasoning}, in which every text stands once.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain, count
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from udfs.engines.protocol import Message
from udfs.prompts import enclose, fill, prompt_language, prompt_sections
from udfs.tasks.answers import read_answer
from udfs.tasks.task import NO_ROW, Parsed, Row, Task, chat, samples_of

NAME, VERSION = "cluster_texts", 1


class Cluster(BaseModel):
    """One cluster as the model wrote it."""

    model_config = ConfigDict(extra="ignore")
    cluster: int
    samples: list[int]
    reasoning: str = ""


class Clusters(BaseModel):
    """The whole answer; a bare list is taken as well."""

    model_config = ConfigDict(extra="ignore")
    clusters: list[Cluster]

    @model_validator(mode="before")
    @classmethod
    def wrap(cls, value: Any) -> Any:
        """Brings a bare list to the shape that was asked for."""
        return {"clusters": value} if isinstance(value, list) else value


def render(row: Row) -> list[Message]:
    """Makes the messages for a row. The criteria stand at the top of the system message, which all rounds share."""
    sections = prompt_sections(NAME, prompt_language(row.get("lang")), VERSION)
    system = fill(sections["system"], {"criteria": enclose(str(row["criteria"]))})
    return chat(system, fill(sections["user"], {"samples": samples_of(row)}))


def parse(text: str, row: Row = NO_ROW) -> Parsed:
    """Reads the clusters. A text in no cluster or in two is an error: mending it would change the score unseen.

    Without the row, the highest number stands for how many texts there are. Clusters of nothing are named in `dropped`.
    """
    value, problem = read_answer(text, Clusters)
    if value is None:
        return Parsed(error=problem)
    filled = [cluster for cluster in value.clusters if cluster.samples]
    empty = tuple(f"cluster {cluster.cluster}: no samples" for cluster in value.clusters if not cluster.samples)
    fault = _fault(list(chain.from_iterable(cluster.samples for cluster in filled)), row)
    if fault:
        return Parsed(error=fault, dropped=empty)
    clusters = [
        {"cluster": number, "members": sorted(cluster.samples), "reasoning": cluster.reasoning.strip()}
        for number, cluster in enumerate(filled, 1)
    ]
    return Parsed(value=clusters, dropped=empty)


def _fault(members: list[int], row: Row) -> str:
    if not members:
        return "there is no cluster with a sample"
    size = len(row["texts"]) if "texts" in row else max(members)
    strange = next((member for member in members if not 1 <= member <= size), None)
    if strange is not None:
        return f"sample {strange} is not among the {size} samples"
    (often, times), *_ = (seen := Counter(members)).most_common(1)
    if times > 1:
        return f"sample {often} is in two clusters"
    # Not by a set of all numbers up to `size`, which the answer may have made endless.
    missing = next(number for number in count(1) if number not in seen)
    return f"sample {missing} is in no cluster" if missing <= size else ""


TASK = Task(NAME, VERSION, Clusters, render, parse)
PROMPT_ID = TASK.prompts_id
