"""Which text stands for which, by boostqa's own functions, by its command, and by the peers; and what each answer is worth on true labels."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from common import ROOT
from environments import SEMHASH, TEXT_DEDUP, TEXT_DEDUP_NEEDS, NotInstalledError, python_of, versions_in
from labelled_sets import Labelled
from numpy.typing import NDArray

from etl.cli import main as boostqa_command
from udfs.embedding import Embedded
from udfs.minhash import MinHashSettings, band_keys, has_bands, signatures
from udfs.shingles import ShingleSets, jaccard_pairs
from udfs.similarity import pairs_over
from udfs.survivors import greedy_survivors

Row = dict[str, Any]
MAX_UNKNOWN = 0.1
# Of `dedup` in conf/base.yaml.
THRESHOLD = 0.90
PEERS = {
    "semhash": ("semhash_groups.py", SEMHASH, ()),
    "text-dedup": ("text_dedup_groups.py", TEXT_DEDUP_NEEDS, TEXT_DEDUP),
}
PEER_LIMIT_S = 900


def by_meaning(made: Embedded, texts: Sequence[str], threshold: float) -> NDArray[np.int64]:
    """For each text, the one that boostqa keeps in its place by vectors: what the step does, without its clusters."""
    readable = np.flatnonzero((made.unknown_share <= MAX_UNKNOWN) & ~made.cut)
    i, j, cosine = pairs_over(made.vectors[readable].astype(np.float32), None, threshold)
    return _survivors(texts, readable[i], readable[j], cosine)


def by_words(texts: Sequence[str], threshold: float) -> NDArray[np.int64]:
    """For each text, the one that boostqa keeps in its place by MinHash and true Jaccard."""
    settings = MinHashSettings(threshold=threshold)
    sets = ShingleSets.of(texts)
    signature = signatures(sets, settings)
    banded = np.flatnonzero(has_bands(signature))
    keys = band_keys(signature[banded], settings)
    pairs = {pair for band in keys.T for pair in _same_key(banded, band)}
    a, b = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
    similarity = jaccard_pairs(sets, a, b)
    near = similarity >= threshold
    return _survivors(texts, a[near], b[near], similarity[near])


def _same_key(rows: NDArray[np.int64], keys: NDArray[np.int64]) -> list[tuple[int, int]]:
    order = np.lexsort((rows, keys))
    groups = np.split(rows[order], np.flatnonzero(np.diff(keys[order])) + 1)
    return [(int(a), int(b)) for group in groups for n, a in enumerate(group) for b in group[n + 1 :]]


def _survivors(
    texts: Sequence[str], i: NDArray[np.int64], j: NDArray[np.int64], likeness: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The longest first, as the step has it."""
    rank = np.empty(len(texts), dtype=np.int64)
    rank[np.argsort([-len(text) for text in texts], kind="stable")] = np.arange(len(texts))
    return np.asarray(greedy_survivors(i, j, rank, len(texts), likeness))


def peer_rows(name: str, labelled: Labelled, vectors: NDArray[np.float16], thresholds: Sequence[float]) -> list[Row]:
    """What a peer's answers are worth, a row for each threshold; or one with the reason why it did not run."""
    script, packages, bare = PEERS[name]
    same = {"what": name, "set": labelled.name, "size": len(labelled.texts)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "texts.json").write_text(json.dumps(labelled.texts), "utf-8")
        np.save(folder / "vectors.npy", vectors.astype(np.float32))
        try:
            python = python_of(name, packages, bare)
            command = [str(python), str(ROOT / "bench" / "peers" / script), place, *map(str, thresholds)]
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=PEER_LIMIT_S)
        except (NotInstalledError, subprocess.TimeoutExpired) as error:
            return [{**same, "reason": str(error)[:300]}]
        if done.returncode:
            return [{**same, "reason": " ".join(done.stderr.split())[-300:]}]
        found = json.loads((folder / "stands.json").read_text("utf-8"))
    told = {"versions": versions_in(name, (name,))}
    return [{**same, **told, **_at(one["threshold"], labelled, one["stands"], one["seconds"])} for one in found]


def own_rows(
    what: str, labelled: Labelled, stands_at: Callable[[float], Sequence[int]], thresholds: Sequence[float]
) -> list[Row]:
    """What boostqa's answers are worth, a row for each threshold."""
    rows = []
    for threshold in thresholds:
        started = time.monotonic()
        stands = stands_at(threshold)
        told = _at(threshold, labelled, stands, time.monotonic() - started)
        rows.append({"what": what, "set": labelled.name, "size": len(labelled.texts), **told})
    return rows


def _at(threshold: float, labelled: Labelled, stands: Sequence[int], seconds: float) -> Row:
    return {"threshold": threshold, "seconds": round(seconds, 2), **labelled.judge(stands)}


def command_rows(labelled: Labelled, folder: Path) -> list[Row]:
    """What `boostqa dedup FILE` makes of a set: all that it removes, and what it removes by meaning alone."""
    data, out = folder / f"{labelled.name}.jsonl", folder / labelled.name
    lines = (json.dumps({"n": n, "body": text}) + "\n" for n, text in enumerate(labelled.texts))
    data.write_text("".join(lines), "utf-8")
    started = time.monotonic()
    with redirect_stdout(sys.stderr):
        code = boostqa_command(["dedup", str(data), "--text-field", "body", "--out", str(out)])
    seconds = time.monotonic() - started
    same = {"set": labelled.name, "size": len(labelled.texts)}
    if code:
        return [{"what": "boostqa dedup FILE", **same, "reason": f"exit code {code}"}]
    rows = [row for part in out.glob("rows/part-*.parquet") for row in pq.read_table(part).to_pylist()]
    number = {row["id"]: json.loads(row["record"])["n"] for row in rows}
    found = []
    for what, reasons in (("all", None), ("by meaning", "semantic_duplicate")):
        stands = list(range(len(labelled.texts)))
        for row in rows:
            if row["verdict"] == "removed" and reasons in (None, row["reason"]):
                stands[number[row["id"]]] = number[row["kept_id"]]
        found.append({"what": f"boostqa dedup FILE, {what}", **same, **_at(THRESHOLD, labelled, stands, seconds)})
    return found
