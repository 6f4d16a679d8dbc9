"""The first run on real corpora, from files to the training set: is every row accounted for, and what does each step take?

The input records are counted here a second time, with plain json, csv and pyarrow and none of the project's readers. The run is done twice: the second
must ask nothing and write nothing. `make bench-first_run` writes bench/results/first_run.json, with ARGS=--page docs/first-run-figures.md
too; ARGS="--warehouse FOLDER" keeps the tables.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import zstandard
from common import ROOT, boostqa, goal, run_command, write_result

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DATA = ROOT / "../shared/data"
PROFILE = "docs/first-run.yaml"


def folder_records(folder: str, suffixes: tuple[str, ...]) -> int:
    """One record a file, an empty one too."""
    return sum(1 for path in (DATA / folder).rglob("*") if path.is_file() and path.name.endswith(suffixes))


def lines_of(stream: io.TextIOBase) -> int:
    """JSON lines that parse."""
    return sum(1 for line in stream if line.strip() and isinstance(json.loads(line), dict))


def csv_records() -> int:
    """Rows below the header of every article; latin-1 reads any bytes, and only the structure counts here."""
    total = 0
    for path in sorted((DATA / "en/onestop_csv_quarter").glob("*.csv")):
        with path.open(encoding="latin-1", newline="") as stream:
            total += sum(1 for row in csv.reader(stream) if row) - 1
    return total


def cmrc_paragraphs() -> Iterator[dict[str, Any]]:
    """The paragraphs of both files."""
    for path in sorted((DATA / "zh/cmrc2018").glob("*.json")):
        yield from json.loads(path.read_text(encoding="utf-8"))


def biology_records() -> int:
    """Lines of the zstd file."""
    with (DATA / "en/biology/biology.jsonl.zst").open("rb") as raw:
        return lines_of(io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8"))


def laws_records() -> int:
    """Markdown files and rows of the gzip file."""
    rows = 0
    for path in (DATA / "zh/laws").rglob("*.jsonl.gz"):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            rows += lines_of(stream)
    return rows + folder_records("zh/laws", (".md",))


def gsm8k_records() -> int:
    """Lines of the training file."""
    with (DATA / "bench/gsm8k/train.jsonl").open(encoding="utf-8") as stream:
        return lines_of(stream)


EXPECTED: dict[str, Callable[[], int]] = {
    "economics": lambda: folder_records("en/economics", (".md",)),
    "biology": biology_records,
    "us_history": lambda: pq.ParquetFile(DATA / "en/us_history/us_history.parquet").metadata.num_rows,
    "factbook": lambda: folder_records("en/factbook", (".json",)),
    "sicp": lambda: folder_records("en/sicp_html", (".xhtml",)),
    "onestop_elementary": csv_records,
    "onestop_intermediate": csv_records,
    "onestop_advanced": csv_records,
    "classical": lambda: folder_records("zh/classical", (".txt",)),
    "oi_wiki": lambda: folder_records("zh/oi_wiki", (".md",)),
    "laws": laws_records,
    "cmrc": lambda: sum(1 for _ in cmrc_paragraphs()),
    "cmrc_qa": lambda: sum(len(paragraph["qas"]) for paragraph in cmrc_paragraphs()),
    "gsm8k": gsm8k_records,
    "college_math": lambda: pq.ParquetFile(DATA / "bench/college_math.parquet").metadata.num_rows,
}


def command(name: str, warehouse: Path) -> list[str]:
    """A command on this bench's profile and warehouse."""
    return boostqa(name, "--conf", PROFILE, "--set", f"tables.warehouse={warehouse}")


def run_pipeline(warehouse: Path, which: str) -> dict[str, Any]:
    """Runs the pipeline; returns what the command took, and the rows in its tables and in the ledger afterwards."""
    ran = run_command(command("run", warehouse))
    rows = {name: table(warehouse, name).count() for name in table_names(warehouse) if name != "steps"}
    return {"what": "run", "run": which, **ran, "rows": sum(rows.values()), "calls": rows.get("llm_calls", 0)}


def table_names(warehouse: Path) -> list[str]:
    """The tables of a warehouse."""
    return sorted(log.parent.name for log in warehouse.glob("*/_delta_log"))


def step_rows(warehouse: Path) -> list[dict[str, Any]]:
    """One measurement per step that had something to do."""
    rows = table(warehouse, "steps").where("status = 'done' AND rows_in > 0").orderBy("created_at").collect()
    return [
        {
            "what": "step",
            "step": row["step"],
            "attempt": row["attempt"],
            "rows_in": row["rows_in"],
            "rows_out": row["rows_out"],
            "seconds": round(row["seconds"], 1),
            "dropped": dict(row["dropped"] or {}),
        }
        for row in rows
    ]


def source_rows(warehouse: Path) -> list[dict[str, Any]]:
    """Per source: the records counted here, those in the tables, passages, kept ones and why others were dropped."""
    documents, quarantine = table(warehouse, "documents"), table(warehouse, "quarantine")
    parents = {
        r["source"]: r["count"]
        for r in documents.select("source", "parent_id").distinct().groupBy("source").count().collect()
    }
    passages = {r["source"]: r["count"] for r in documents.groupBy("source").count().collect()}
    bad = counts(quarantine, "reason")
    fates = counts(
        documents.join(table(warehouse, "curation"), "doc_id").selectExpr("source", "coalesce(reason, 'kept') AS fate"),
        "fate",
    )
    languages = counts(documents, "lang")
    rows = []
    for name, expected in EXPECTED.items():
        fate = fates.get(name, {})
        found = parents.get(name, 0) + sum(bad.get(name, {}).values())
        rows.append(
            {
                "what": "source",
                "source": name,
                "records": expected(),
                "records_found": found,
                "records_read": parents.get(name, 0),
                "quarantined": bad.get(name, {}),
                "passages": passages.get(name, 0),
                "kept": fate.pop("kept", 0),
                "dropped": fate,
                "languages": languages.get(name, {}),
            }
        )
    return rows


def counts(rows: DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Rows by source and the values of a column, the most frequent first."""
    found: dict[str, dict[str, int]] = {}
    for row in sorted(rows.groupBy("source", column).count().collect(), key=lambda r: -r["count"]):
        found.setdefault(row["source"], {})[row[column]] = row["count"]
    return found


def table(warehouse: Path, name: str) -> DataFrame:
    """A table of a warehouse."""
    from etl.session import get_spark

    return get_spark().read.format("delta").load(str(warehouse / name))


def write_page(warehouse: Path, sources: list[dict[str, Any]], steps: list[dict[str, Any]], out: Path) -> None:
    """Writes the page that docs/first-run.md leads to: the funnel by source and by step, and five rows of each table."""
    parts = [
        "# The first run on real corpora: the figures",
        "Written by `make bench-first_run ARGS=--page`, not by hand; [first-run.md](first-run.md) tells what is behind it.",
        "## By source",
        _markdown(("source", "records", "quarantined", "passages", "kept", "dropped"), map(_source_cells, sources)),
        "## By step",
        "`embed`, `annotate` and `dedup` run twice: for the seeds, then for the questions.",
        _markdown(("step", "rows in", "rows out", "dropped", "seconds"), map(_step_cells, steps)),
        "## Five rows of each table",
        "Spread over the table by the hash of the key; long values are cut, empty ones left out. The answers are placeholders by the stand-in teacher.",
        *(_five_rows(warehouse, name) for name in table_names(warehouse)),
    ]
    page = "\n\n".join(parts) + "\n"
    # Where this machine keeps things is nobody's business.
    for place in (f"file:{DATA.resolve()}", str(DATA.resolve()), str(warehouse.resolve().parent)):
        page = page.replace(place, "…")
    out.write_text(page, encoding="utf-8")


def _markdown(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(f'{v:,}' if isinstance(v, int) else str(v) for v in line)} |" for line in lines)


def _source_cells(row: dict[str, Any]) -> tuple[object, ...]:
    bad = sum(row["quarantined"].values())
    return row["source"], row["records"], bad, row["passages"], row["kept"], _reasons(row["dropped"])


def _step_cells(row: dict[str, Any]) -> tuple[object, ...]:
    return row["step"], row["rows_in"], row["rows_out"], _reasons(row["dropped"]), row["seconds"]


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in sorted(counts.items(), key=lambda c: (-c[1], c[0])))


def _five_rows(warehouse: Path, name: str) -> str:
    from pyspark.sql import functions as F

    from etl.schemas import TABLES

    found = table(warehouse, name).orderBy(F.xxhash64(*TABLES[name].key)).limit(5).collect()
    rows = [{k: v for k, v in r.asDict(recursive=True).items() if v not in (None, "", [], {})} for r in found]
    shown = "\n\n".join("\n".join(f"{k:<16} {_cut(v)}" for k, v in row.items()) for row in rows)
    return f"### {name}\n\n```text\n{shown}\n```"


def _cut(value: object, width: int = 110) -> str:
    text = f"{len(value)} bytes" if isinstance(value, (bytes, bytearray)) else " ".join(str(value).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def goals(
    sources: list[dict[str, Any]], runs: list[dict[str, Any]], steps: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What issue 3 asks of this run."""
    first, second, doctor = runs
    unequal = sum(row["records"] != row["records_found"] for row in sources)
    lost = sum(abs(row["rows_in"] - row["rows_out"] - sum(row["dropped"].values())) for row in steps)
    wanted = [
        ("sources with another count than counted by hand", unequal, "sources"),
        ("rows that a step does not account for", lost, "rows"),
        ("exceptions", sum(run["exit_code"] != 0 for run in (first, second)), "runs"),
        ("calls of the second run", second["calls"] - first["calls"], "calls"),
        ("rows written by the second run", second["rows"] - first["rows"], "rows"),
        ("doctor finds something", int(doctor["exit_code"] != 0), "runs"),
    ]
    return [goal(name, value, 0, unit) for name, value, unit in wanted]


def print_table(sources: list[dict[str, Any]]) -> None:
    """The funnel, a line a source."""
    print(f"{'source':<22}{'records':>8}{'found':>8}{'bad':>6}{'passages':>10}{'kept':>8}  dropped")
    for row in sources:
        why = ", ".join(f"{n} {reason}" for reason, n in row["dropped"].items())
        bad = sum(row["quarantined"].values())
        print(
            f"{row['source']:<22}{row['records']:>8}{row['records_found']:>8}{bad:>6}{row['passages']:>10}{row['kept']:>8}  {why}"
        )


def main() -> int:
    """Runs everything twice, prints the funnel and writes the result; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="the first run on real corpora")
    parser.add_argument("--warehouse", type=Path, help="where the tables are made; default: a new temporary folder")
    parser.add_argument("--page", action="store_true", help="write docs/first-run-figures.md too")
    args = parser.parse_args()
    if not DATA.is_dir():
        print(f"there is no {DATA}: this bench needs the corpora that lie beside the project")
        return 2
    warehouse = args.warehouse or Path(tempfile.mkdtemp(prefix="first-run-")) / "warehouse"
    print(f"tables in {warehouse}", flush=True)
    runs = [run_pipeline(warehouse, which) for which in ("first", "second")]
    runs.append({"what": "doctor", **run_command(command("doctor", warehouse))})
    sources, steps = source_rows(warehouse), step_rows(warehouse)
    if args.page:
        write_page(warehouse, sources, steps, ROOT / "docs" / "first-run-figures.md")
    print_table(sources)
    return 0 if write_result("first_run", [*sources, *runs, *steps], goals(sources, runs, steps)) else 1


if __name__ == "__main__":
    sys.exit(main())
