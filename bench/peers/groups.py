"""What the dedup peers share: their arguments and the file that they write. Standard library alone: each runs in an environment of its own."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def run(stands_at: Callable[[Path, list[str], float], Sequence[int]]) -> None:
    """Reads texts (JSON list) from FOLDER/texts.json, and writes for each threshold which text stands for which, with the seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("thresholds", type=float, nargs="+")
    args = parser.parse_args()
    texts: list[str] = json.loads((args.folder / "texts.json").read_text("utf-8"))
    found = []
    for threshold in args.thresholds:
        started = time.monotonic()
        stands = [int(one) for one in stands_at(args.folder, texts, threshold)]
        found.append({"threshold": threshold, "seconds": time.monotonic() - started, "stands": stands})
    (args.folder / "stands.json").write_text(json.dumps(found), "utf-8")
