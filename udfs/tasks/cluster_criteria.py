"""Task `cluster_criteria`: by what the texts of a collection differ, from a few of them.

Row: `lang`, `texts` (list of str). Value: {metadata: [{name, criteria}], metrics: [{name, criteria, levels (5 str)}]}, each `criteria` one sentence.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from udfs.engines.protocol import Message
from udfs.prompts import fill, prompt_language, prompt_sections
from udfs.tasks.answers import read_answer
from udfs.tasks.task import NO_ROW, Parsed, Row, Task, chat, samples_of

NAME, VERSION = "cluster_criteria", 1
LEVELS = 5
MAX_EACH = 10  # they stand in every request of the rounds
MAX_SENTENCE_CHARS = 1_000


class Metadata(BaseModel):
    """A descriptive attribute, and the sentence that tells by it which texts belong together."""

    model_config = ConfigDict(extra="ignore")
    name: str
    criteria: str


class Metric(Metadata):
    """What can be graded from 1 to 5; `levels` says what each grade means."""

    levels: list[str]


class Criteria(BaseModel):
    """The whole answer."""

    model_config = ConfigDict(extra="ignore")
    metadata: list[Metadata]
    metrics: list[Metric]


def render(row: Row) -> list[Message]:
    """Makes the messages for a row."""
    sections = prompt_sections(NAME, prompt_language(row.get("lang")), VERSION)
    return chat(sections["system"], fill(sections["user"], {"samples": samples_of(row)}))


def parse(text: str, row: Row = NO_ROW) -> Parsed:
    """Reads the criteria. None of a kind, too many, an empty or endless sentence, or a metric without its five levels is an error."""
    value, problem = read_answer(text, Criteria)
    if value is None:
        return Parsed(error=problem)
    kinds: dict[str, list[Metadata] | list[Metric]] = {"metadata": value.metadata, "metrics": value.metrics}
    fault = next(filter(None, (_fault(kind, named) for kind, named in kinds.items())), "")
    wrong = next((metric for metric in value.metrics if len(metric.levels) != LEVELS), None)
    if not fault and wrong is not None:
        fault = f"metric {wrong.name[:80]!r} has {len(wrong.levels)} levels, not {LEVELS}"
    return Parsed(error=fault) if fault else Parsed(value=value.model_dump())


def _fault(kind: str, named: list[Metadata] | list[Metric]) -> str:
    if not 1 <= len(named) <= MAX_EACH:
        return f"{len(named)} {kind}, not 1 to {MAX_EACH}"
    if any(not each.name.strip() or not each.criteria.strip() for each in named):
        return f"{kind}: a name or its criteria is empty"
    if any(len(each.name) + len(each.criteria) > MAX_SENTENCE_CHARS for each in named):
        return f"{kind}: the criteria are no concise sentence"
    return ""


TASK = Task(NAME, VERSION, Criteria, render, parse)
PROMPT_ID = TASK.prompts_id
