"""text-dedup's MinHash with its own settings, but for shingles of 3 words as ours are, and for short texts, which it would drop."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from groups import run
from text_dedup import minhash  # type: ignore[import-not-found]


def stands_at(folder: Path, texts: list[str], threshold: float) -> Sequence[int]:
    """For each text, the first of its cluster."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        data = Path(place) / "texts.jsonl"
        data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
        arguments = {"path": "json", "data_files": str(data), "split": "train", "column": "text"}
        arguments |= {"cache_dir": f"{place}/cache", "output": f"{place}/out", "threshold": str(threshold)}
        arguments |= {"ngram": "3", "min_length": "1"}
        line = [part for name, value in arguments.items() for part in (f"--{name}", value)]
        minhash.main(line, standalone_mode=False)
        return [minhash.uf.find(n) for n in range(len(texts))]


run(stands_at)
