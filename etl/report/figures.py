"""What a report shows: small plain records, taken from the tables by `etl.report.gather` and turned into a page by `etl.report.page`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Text:
    """A piece of a text, cut to a bound, in its language (`und` when undecided)."""

    id: str
    text: str
    lang: str = "und"
    detail: str = ""


@dataclass(frozen=True)
class Facts:
    """The head of the report. `finished` is a UTC time in words; `exported_tokens` counts the rendered texts of the last mixture."""

    name: str
    run_id: str
    finished: str
    seconds: float
    warehouse: str
    version: str
    embedding_model: str
    exported_rows: int
    exported_tokens: int


@dataclass(frozen=True)
class Stage:
    """One stage of the funnel: the rows that reached it, and those that did not, by reason. `rows` is None where its step has not run."""

    name: str
    unit: str
    rows: int | None
    dropped: dict[str, int]


@dataclass(frozen=True)
class Reason:
    """Rows that a stage dropped for one reason, with up to three examples."""

    stage: str
    reason: str
    count: int
    examples: tuple[Text, ...]


@dataclass(frozen=True)
class CellMap:
    """One figure per (discipline, difficulty); `kind` is seeds, deficiency, planned_tokens or questions. Level 0: no label."""

    kind: str
    cells: dict[tuple[str, int], float]


@dataclass(frozen=True)
class Measured:
    """The measures of one scope: metric -> (value, low, high), the ends None where no interval is known."""

    items: str
    scope: str
    n: int
    values: dict[str, tuple[float, float | None, float | None]]


@dataclass(frozen=True)
class Pair:
    """Two rows compared by dedup; `removed` is the id of the one that went, if any."""

    a: Text
    b: Text
    cosine: float
    removed: frozenset[str]


@dataclass(frozen=True)
class Dedup:
    """One dedup run (of seeds, or of questions): its figures, and the pairs nearest to its threshold."""

    items: str
    threshold: float
    rows: int
    removed: int
    figures: dict[str, float]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Calls:
    """The ledger by task and model; `model` is the one that answered, by its own word."""

    task: str
    model: str
    requests: int
    this_run: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    failed: int
    latency_s: float | None


@dataclass(frozen=True)
class CallError:
    """An error of the endpoint, and how many requests ended in it."""

    task: str
    error: str
    count: int


@dataclass(frozen=True)
class StepRun:
    """One step of the last run."""

    step: str
    attempt: int
    status: str
    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    seconds: float
    error: str | None


@dataclass(frozen=True)
class Unreadable:
    """Vectors (`what` = vector) or zero-shot labels (`what` = label) that must not be trusted, by reason."""

    what: str
    items: str
    reason: str
    count: int
    total: int


@dataclass(frozen=True)
class Benchmark:
    """What one benchmark has found by one method (`ngram`): the rows that are out, and how many of its items they hold."""

    name: str
    method: str
    rows: int
    items: int


@dataclass(frozen=True)
class Question:
    """One row of the browsable sample. `status` is exported, verified (but not in the mixture), duplicate or rejected."""

    qa_id: str
    question: str
    answer: str
    draft_answer: str
    lang: str
    discipline: str
    difficulty: int
    target_difficulty: int
    branch: str
    grade: str
    status: str
    reason: str
    quality: float
    seed_id: str
    seed: str


@dataclass(frozen=True)
class Figures:
    """Everything on the page. `names` maps a discipline to how it is shown, in the taxonomy's order."""

    facts: Facts
    funnel: tuple[Stage, ...] = ()
    reasons: tuple[Reason, ...] = ()
    quarantine: tuple[Reason, ...] = ()
    maps: tuple[CellMap, ...] = ()
    diversity: tuple[Measured, ...] = ()
    dedups: tuple[Dedup, ...] = ()
    calls: tuple[Calls, ...] = ()
    call_errors: tuple[CallError, ...] = ()
    steps: tuple[StepRun, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    benchmarks: tuple[Benchmark, ...] = ()
    sample: tuple[Question, ...] = ()
    names: dict[str, str] = field(default_factory=dict)


def cut(text: str | None, bound: int) -> str:
    """Returns the text, or its first `bound` characters and an ellipsis."""
    text = text or ""
    return text if len(text) <= bound else text[:bound].rstrip() + "…"
