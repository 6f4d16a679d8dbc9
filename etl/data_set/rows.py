"""The rows of a data set: read as ingest reads them, one row a record, and written as files with a verdict each."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.errors import UserError
from etl.part_files import write_parts
from etl.screen import reasons
from etl.sources import list_files
from etl.step import Job, Outcome, Step, count_reasons
from etl.steps import embed, ingest
from udfs.storage import delete, exists, read_bytes, write_over
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
VERDICTS_DDL = (
    "id string, verdict string, kept_id string, score double, reason string, text string, meta map<string,string>, "
    "uri string, position string, error string, raw string"
)


@dataclass(frozen=True)
class Output:
    """Where the rows go, and as files of which kind of `etl.part_files.ENCODERS`."""

    folder: str
    kind: str


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
    """Adds the records that could not be read to rows with a verdict, and the columns of VERDICTS_DDL that those lack."""
    bad = _of_now(job, "quarantine").withColumn("verdict", F.lit("unread"))
    both = judged.unionByName(bad, allowMissingColumns=True)
    columns = [part.strip().split(" ") for part in VERDICTS_DDL.split(", ")]
    missing = {name: F.lit(None).cast(kind) for name, kind in columns if name not in both.columns}
    return both.withColumns(missing).select(*[name for name, _ in columns])


def write(job: Job, rows: DataFrame, output: Output, outcome: Outcome) -> Outcome:
    """Writes rows (with a column `id`) and a manifest, which is what says that they are whole. The outcome gets the manifest's id."""
    made = stable_id(job.fingerprint, output.kind)
    delete(f"{output.folder}/{MANIFEST}")
    parts = job.tables.scratch("data_set_parts", write_parts(rows, f"{output.folder}/{ROWS}", output.kind, "id"))
    files = [row.asDict() for row in parts.orderBy("path").collect()]
    told = {"id": made, "format": output.kind, "rows": sum(file["rows"] for file in files), "files": files}
    told |= {"counts": outcome.dropped, "figures": outcome.figures}
    write_over(f"{output.folder}/{MANIFEST}", json.dumps(told, indent=1).encode())
    return replace(outcome, ids={"written": made})


def still_there(outcome: Outcome, output: Output) -> bool:
    """Tells whether the output's files are those of an earlier run."""
    path = f"{output.folder}/{MANIFEST}"
    told = json.loads(read_bytes(path)) if exists(path) else {}
    return bool(told.get("id") == outcome.ids.get("written") and told.get("format") == output.kind)


def verdict_counts(rows: DataFrame) -> tuple[int, dict[str, int]]:
    """Counts all rows, and those that are not kept by their reason."""
    dropped = count_reasons(rows.where("verdict != 'kept'"))
    return rows.count(), dropped
