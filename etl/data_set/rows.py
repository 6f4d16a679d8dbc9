"""The rows of a data set: read as ingest reads them, one row a record, and written as files in the input's order, with a verdict each."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from etl.data_set.input_rows import input_rows
from etl.errors import UserError
from etl.part_files import write_parts
from etl.screen import reasons
from etl.sources import list_files
from etl.step import Job, Outcome, Step, count_reasons
from etl.steps import embed, ingest
from udfs.storage import delete, exists, list_stats, read_bytes, write_over
from udfs.text import stable_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame

# What the pipeline keeps of a data set: a folder in the output's, so that another threshold embeds nothing again.
WORK = "_boostqa"
MANIFEST = "manifest.json"
# The files with the rows, and nothing else: an earlier run's are deleted.
ROWS = "rows"
ROLE = "text"
# `record` is the whole record of the input as JSON; `error` and `raw` are those of one that could not be read.
VERDICT = {"verdict": "string", "kept_id": "string", "score": "double", "reason": "string", "text": "string"}
COLUMNS = ("id", *VERDICT, "record", "uri", "position", "error", "raw")
ORDER = ("uri", "number", "position")


@dataclass(frozen=True)
class Output:
    """Where the rows go, as files of which kind of `etl.part_files.ENCODERS`, and what they are: `dedup /data/a.jsonl`."""

    folder: str
    kind: str
    what: str


def step_of(name: str, run: Callable[[Job, Output], Outcome], output: Output, settings: tuple[str, ...]) -> Step:
    """Makes a step that reads what was ingested and embedded, and writes files: it runs again where they are another run's, or gone."""
    return Step(
        name,
        lambda job: run(job, output),
        reads=("documents", "quarantine", "embeddings"),
        writes=(),
        settings=("sources", *settings),
        intact=lambda outcome: still_there(outcome, output),
    )


INGEST = ingest.STEP
EMBED = Step(
    "embed",
    partial(embed.run, every=lambda job: items(job)),
    reads=("documents",),
    writes=("embeddings",),
    settings=("embed",),
)


def records(job: Job) -> DataFrame:
    """Returns the rows of `documents` that the data set has now. Raises UserError when records are there and none could be read."""
    found = _of_now(job, "documents")
    if found.isEmpty():
        unread = count_reasons(_of_now(job, "quarantine"))
        if unread:
            source = job.config.sources[0]
            field = source.fields.get("text", "text")
            raise UserError(
                f"{source.path}: no row could be read ({reasons(unread)}): is --text-field {field} right, and the format?"
            )
    return found


def items(job: Job) -> DataFrame:
    """Returns the records as items to embed: item_id, role, text, text_hash."""
    return records(job).select(F.col("doc_id").alias("item_id"), F.lit(ROLE).alias("role"), "text", "text_hash")


def _of_now(job: Job, table: str) -> DataFrame:
    # A file that was read once and is gone from a folder stays in `documents`.
    listed = [list_files(job.tables, job.config, source).select("source", "uri") for source in job.config.sources]
    return job.tables.read(table).join(reduce(lambda a, b: a.unionByName(b), listed), ["source", "uri"], "left_semi")


def with_unread(job: Job, judged: DataFrame) -> DataFrame:
    """Puts verdicts (id, and what there is of verdict, kept_id, score, reason and text) beside all records of the input: COLUMNS, and `number`.

    A record that could not be read has the verdict `unread`, with ingest's reason.
    """
    every, parents = input_rows(job), _of_now(job, "documents").selectExpr("doc_id AS id", "parent_id AS key")
    # Unreadable ones have no id: each is its own key, so that they do not all meet in one task.
    alone = F.concat_ws("#", "uri", "position", F.col("number").cast("string"))
    given = {name: F.lit(None).cast(kind) for name, kind in VERDICT.items() if name not in judged.columns}
    told = judged.withColumns(given).select("id", *VERDICT).join(parents, "id")
    both = every.withColumn("key", F.coalesce("parent_id", alone)).join(told, "key", "full")
    verdict = F.when(F.col("unread_reason").isNotNull(), "unread").otherwise(F.col("verdict"))
    named = both.withColumns({"verdict": verdict, "reason": F.coalesce("reason", "unread_reason")})
    return named.select(*COLUMNS, "number")


def verdict_counts(rows: DataFrame) -> tuple[int, dict[str, int]]:
    """Counts all rows, and those that are not kept by their reason. Raises UserError when the data set is not what it was when it was judged."""
    torn = F.col("verdict").isNull() | F.col("uri").isNull()
    counted = rows.groupBy("verdict", "reason", torn.alias("torn")).count().collect()
    if any(row["torn"] for row in counted):
        raise UserError("the data set has changed since it was read: run the command again")
    dropped: Counter[str] = Counter()
    for row in counted:
        if row["verdict"] != "kept":
            dropped[row["reason"]] += row["count"]
    return sum(row["count"] for row in counted), dict(sorted(dropped.items()))


def write(job: Job, rows: DataFrame, output: Output, outcome: Outcome) -> Outcome:
    """Writes rows of `with_unread`, in the input's order, or others, and a manifest, which is what says that they are whole. The outcome gets its id."""
    made = stable_id(job.fingerprint, output.kind)
    delete(f"{output.folder}/{MANIFEST}")
    if "number" in rows.columns:
        rows = rows.repartitionByRange(*ORDER).sortWithinPartitions(*ORDER).select(*COLUMNS)
    parts = job.tables.scratch("data_set_parts", write_parts(rows, f"{output.folder}/{ROWS}", output.kind, ("record",)))
    files = [row.asDict() for row in parts.orderBy("path").collect()]
    told = {
        "what": output.what,
        "id": made,
        "format": output.kind,
        "rows": sum(file["rows"] for file in files),
        "files": files,
    }
    told |= {"counts": outcome.dropped, "figures": outcome.figures}
    write_over(f"{output.folder}/{MANIFEST}", json.dumps(told, indent=1).encode())
    return replace(outcome, ids={"written": made})


def still_there(outcome: Outcome, output: Output) -> bool:
    """Tells whether the output's files are those of an earlier run."""
    told = manifest_in(output.folder) or {}
    same = told.get("id") == outcome.ids.get("written") and told.get("format") == output.kind
    there = {file.uri for file in list_stats(f"{output.folder}/{ROWS}")}
    return bool(same) and all(file["path"] in there for file in told["files"])


def manifest_in(folder: str) -> dict[str, Any] | None:
    """Reads the manifest that a run has left in an output folder; None where there is none, or somebody else's."""
    path = f"{folder}/{MANIFEST}"
    try:
        told = json.loads(read_bytes(path)) if exists(path) else None
    except ValueError:
        return None
    return told if isinstance(told, dict) and {"what", "id", "format", "files"} <= told.keys() else None
