"""Near-duplicates at scale: GB of text per core-hour, growth, and what is found, beside datatrove and text-dedup on the same text in the same call.

All three have word 3-grams, 28 bands of 5 rows and every core, and read and write Parquet; the seconds are those of the whole process, with its start.
What they keep is compared with the exact Jaccard of all pairs inside a sample of the families of like texts (`near_text`). The skewed text is one
passage 50,000 times with a number in it: every band has a bucket of nearly all rows. The crowd is 10,000 texts of one template, half alike: every band has a
bucket of a quarter of them, and nothing is to be removed. `make bench-minhash_scale`; smaller: ARGS="--quick".

Expected before the first look: 12 GB per core-hour at 1.6 GB of text, at 0.4 GB four times as fast as datatrove and six times as text-dedup; growth 1.05;
recall .998 for all three, precision 1 for boostqa, .97 for the others, which do not verify; 10 comparisons a row of the skewed text; of the crowd, 64 in each
of 7 of a row's buckets.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from common import ROOT, goal, write_result
from environments import TEXT_DEDUP, TEXT_DEDUP_NEEDS, NotInstalledError, python_of
from near_text import DATA, build, build_crowd, build_skewed, score, strangers
from processes import Ran, run_client

Row = dict[str, Any]
PEERS = ROOT / "bench" / "peers"
GB = 1e9
LIMIT_S = 3600
SAMPLE = 0.1
COPIES, CROWD = "one text, many copies", "one template, all different"


@dataclass(frozen=True)
class Tool:
    """A program that looks for near-duplicates. `packages` of its own environment (none: this interpreter), of which `bare` come without what they ask for."""

    name: str
    script: str
    packages: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()


OWN = Tool("boostqa", "near_boostqa.py")
OTHERS = (
    Tool("datatrove", "near_datatrove.py", ("datatrove[io,processing]==0.10.1", "spacy==3.8.18")),
    Tool("text-dedup", "near_textdedup.py", TEXT_DEDUP_NEEDS, TEXT_DEDUP),
)


def run(tool: Tool, texts: Path, size: Mapping[str, int], cores: int) -> tuple[Row, Path]:
    """Runs a tool on a folder of text; its row, without what it found, and where its kept rows are."""
    out = texts.with_name(f"{texts.name}-{tool.name}")
    row: Row = {"what": tool.name, "text": texts.name, **size}
    try:
        python = str(python_of(tool.name, tool.packages, tool.bare)) if tool.packages else sys.executable
    except NotInstalledError as err:
        return row | {"reason": f"not installed: {err}"}, out
    command = [python, str(PEERS / tool.script), str(texts), str(out), str(cores)]
    ran = run_client(command, _environment(tool), LIMIT_S)
    if ran.exit_code != 0:
        return row | {"seconds": round(ran.seconds, 1), "reason": ran.words}, out
    return row | _speed(ran, size["bytes"], cores), out


def _environment(tool: Tool) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept if tool.packages else {**kept, "PYTHONPATH": str(ROOT)}


def _speed(ran: Ran, size: int, cores: int) -> Row:
    hours = ran.seconds * cores / 3600
    told = {name: value for name, value in ran.told.items() if name != "answers"}
    return {
        "seconds": round(ran.seconds, 1),
        "cpu_s": round(ran.cpu_s, 1),
        "gb_per_core_hour": round(size / GB / hours, 2),
        **told,
    }


def compare(folder: Path, sizes: Sequence[int], peers_at: int, cores: int) -> list[Row]:
    """Makes text of each size and gives it to boostqa, and up to `peers_at` bytes to the others too."""
    rows = []
    for size in sizes:
        texts = folder / f"{size // 1_000_000}-mb"
        made = build(texts, size)
        for tool in (OWN, *OTHERS) if size <= peers_at else (OWN,):
            row, out = run(tool, texts, made, cores)
            if "reason" not in row:
                row |= score(texts, _kept(out), SAMPLE)
            shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(f"{out}-warehouse", ignore_errors=True)
            print(row, flush=True)
            rows.append(row)
        if size == sizes[0]:
            rows.append({"what": "greatest Jaccard of two families", "text": texts.name, "value": strangers(texts)})
        shutil.rmtree(texts)
    return rows


def skewed(folder: Path, what: str, make: Callable[[Path, int], dict[str, int]], count: int, cores: int) -> Row:
    """Text that shares buckets, so many rows of it."""
    texts = folder / make.__name__
    row, out = run(OWN, texts, make(texts, count), cores)
    row |= {"what": what}
    print(row, flush=True)
    return row if "reason" in row else row | {"kept": len(_kept(out))}


def _kept(out: Path) -> set[str]:
    return set(ds.dataset(out, format="parquet", exclude_invalid_files=True).to_table(["id"])["id"].to_pylist())


def goals(rows: Sequence[Row]) -> list[Row]:
    """What the issue asks of these measurements; a peer that did not run has no goal, its row says why."""
    own = [row for row in rows if row["what"] == OWN.name]
    largest, before = own[-1], own[-2]
    growth = math.log(largest["seconds"] / before["seconds"]) / math.log(largest["bytes"] / before["bytes"])
    copies, crowd = (next(row for row in rows if row["what"] == what) for what in (COPIES, CROWD))
    families = next(row["value"] for row in rows if row["what"].startswith("greatest"))
    wanted = [
        ("boostqa: text", largest["gb_per_core_hour"], 1.4, "GB per core-hour", False),
        *_ratios(rows, own),
        ("boostqa: growth of seconds with bytes", growth, 1.15, "exponent", True),
        ("boostqa: recall of pairs", min(row["recall"] for row in own), 0.99, "share", False),
        ("boostqa: precision of removed rows", min(row["precision"] for row in own), 1.0, "share", False),
        ("truth: greatest Jaccard of two families", families, 0.5, "Jaccard", True),
        ("one text, many copies: compared pairs", copies["near_compared_pairs"] / copies["rows"], 64, "a row", True),
        ("one text, many copies: pairs left uncompared", copies["near_uncompared_pairs"], 0, "pairs", True),
        ("one text, many copies: kept", copies["kept"], 1, "rows", True),
        ("one template: compared pairs", crowd["near_compared_pairs"] / crowd["rows"], 64 * 28, "a row", True),
        ("one template: share kept", crowd["kept"] / crowd["rows"], 1.0, "share", False),
    ]
    return [goal(name, round(value, 4), bound, unit, at_most) for name, value, bound, unit, at_most in wanted]


def _ratios(rows: Sequence[Row], own: Sequence[Row]) -> list[tuple[str, float, float, str, bool]]:
    by_text = {row["text"]: row["seconds"] for row in own}
    ratios = {
        row["what"]: row["seconds"] / by_text[row["text"]]
        for row in rows
        if row["what"] in {tool.name for tool in OTHERS} and "reason" not in row
    }
    return [
        (f"{name}: seconds, to boostqa's on its largest text", value, 1.0, "times", False)
        for name, value in ratios.items()
    ]


def main() -> int:
    """Makes the text, runs the tools, writes the result; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="near-duplicates at scale")
    parser.add_argument("--quick", action="store_true", help="a twentieth of it all")
    parser.add_argument(
        "--megabytes", type=int, nargs="+", default=[100, 400, 1600], help="sizes of the text, two at least"
    )
    args = parser.parse_args()
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there, and real text is not part of the project")
        return 0
    part, cores = 20 if args.quick else 1, os.cpu_count() or 1
    sizes = sorted(megabytes * 1_000_000 // part for megabytes in args.megabytes)
    with tempfile.TemporaryDirectory(prefix="minhash-scale-") as folder:
        rows = compare(Path(folder), sizes, sizes[1], cores)
        rows.append(skewed(Path(folder), COPIES, build_skewed, 50_000 // part, cores))
        rows.append(skewed(Path(folder), CROWD, build_crowd, 10_000 // part, cores))
    return 0 if write_result("minhash_scale", rows, goals(rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
