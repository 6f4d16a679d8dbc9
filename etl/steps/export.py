"""export: the training files, with a manifest and a data card."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pyarrow as pa

from etl.data_card import data_card
from etl.items import needed_id
from etl.part_files import ENCODERS
from etl.step import Job, Outcome, Step
from etl.templates import render_text
from udfs.storage import absolute, exists, write_over

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROWS_PER_FILE = 100_000
FILES_DDL = "path string, format string, rows bigint, bytes bigint, sha256 string"
COLUMNS = (
    "id",
    "text",
    "question",
    "answer",
    "discipline",
    "difficulty",
    "grade",
    "branch",
    "lang",
    "quality",
    "n_tokens",
    "epoch_copies",
    "weight",
    "seed_ids",
    "licenses",
    "models",
    "recipe_id",
)


def run(job: Job) -> Outcome:
    """Writes the mixture of the last select as files; the same mixture gives the same bytes."""
    mix_id = needed_id(job.tables, "mix_id", "select")
    rows = job.tables.scratch("export_rows", export_rows(job, mix_id))
    n = rows.count()
    # Absolute: a worker's current folder is not the driver's.
    folder = absolute(job.config.export.path or f"{job.tables.root}/export")
    target = f"{folder.rstrip('/')}/{mix_id[:12]}"
    files = job.tables.scratch("export_files", _write(job, rows, n, target)).collect()
    # By their names: the folder may be moved, and is published as it is.
    listed = [row.asDict() | {"path": row["path"].rpartition("/")[2]} for row in sorted(files, key=lambda f: f["path"])]
    manifest = {"mix_id": mix_id, "rows": n, "files": listed, "template": job.config.export.template}
    write_over(f"{target}/manifest.json", json.dumps(manifest, indent=2).encode())
    write_over(f"{target}/README.md", data_card(job, mix_id, rows).encode())
    job.say(f"{n} rows in {target}")
    formats = len(job.config.export.formats)
    wrote = sum(f["rows"] for f in listed) // formats if listed else 0
    return Outcome(n, wrote, figures={"files": float(len(listed))}, ids={"export": target})


def export_rows(job: Job, mix_id: str) -> DataFrame:
    """Returns the rows of a mixture with what a reader of the files needs, models and licences by row."""
    from pyspark.sql import functions as F

    mixture = job.tables.read("mixture").where(f"mix_id = '{mix_id}'").withColumnRenamed("item_id", "qa_id")
    qa = mixture.join(job.tables.read("qa"), "qa_id")
    calls = job.tables.read("llm_calls").select(
        F.col("request_id").alias("call"), F.coalesce("served_model", "model").alias("by")
    )
    models = (
        qa.select("qa_id", F.explode("request_ids").alias("call"))
        .join(calls, "call")
        .groupBy("qa_id")
        .agg(F.sort_array(F.collect_set("by")).alias("models"))
    )
    documents = job.tables.read("documents").select(F.col("doc_id").alias("seed"), "license")
    licences = (
        qa.select("qa_id", F.explode("seed_ids").alias("seed"))
        .join(documents, "seed")
        .groupBy("qa_id")
        .agg(F.sort_array(F.collect_set("license")).alias("licenses"))
    )
    joined = qa.join(models, "qa_id", "left").join(licences, "qa_id", "left").withColumnRenamed("qa_id", "id")
    return joined.select(*[c for c in COLUMNS if c != "text"])


def _write(job: Job, rows: DataFrame, n: int, target: str) -> DataFrame:
    from pyspark.sql import functions as F

    parts = max(1, -(-n // ROWS_PER_FILE))
    seed, template, formats = job.config.run.seed, job.config.export.template, tuple(job.config.export.formats)
    # Hash order shuffles the cells; the file follows from the hash alone, so that any cluster writes the same files.
    shuffled = rows.withColumn("_h", F.xxhash64("id", F.lit(seed))).withColumn(
        "_file", F.expr(f"cast(pmod(_h, {parts}) AS int)")
    )

    def write(key: tuple[int], table: pa.Table) -> pa.Table:
        return written(table.sort_by([("_h", "ascending"), ("id", "ascending")]), target, template, formats)

    return shuffled.groupBy("_file").applyInArrow(write, FILES_DDL)


def written(table: pa.Table, target: str, template: str, formats: tuple[str, ...]) -> pa.Table:
    """Writes one file per format from a sorted table and returns a row about each."""
    number = table.column("_file")[0].as_py()
    texts = render_text(template, table.column("question").to_pylist(), table.column("answer").to_pylist())
    full = table.append_column("text", pa.array(texts, pa.string())).select(list(COLUMNS))
    out = []
    for name in formats:
        data = ENCODERS[name](full)
        path = f"{target}/part-{number:05d}.{name}"
        write_over(path, data)
        out.append(
            {
                "path": path,
                "format": name,
                "rows": full.num_rows,
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
    return pa.Table.from_pylist(out)


def still_there(outcome: Outcome) -> bool:
    """Tells whether the files of an earlier export still lie where they were written."""
    return exists(f"{outcome.ids['export']}/manifest.json")


STEP = Step(
    "export",
    run,
    reads=("mixture", "qa", "documents"),
    writes=(),
    ids=("mix_id",),
    settings=("export", "run.seed"),
    intact=still_there,
)
