"""semhash on ready vectors, as its documentation uses it: its default index, the threshold alone is set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from groups import run
from semhash import SemHash  # type: ignore[import-not-found]


def stands_at(folder: Path, texts: list[str], threshold: float) -> Sequence[int]:
    """For each text, the one that semhash keeps in its place."""
    records = [{"n": str(n), "text": text} for n, text in enumerate(texts)]
    index = SemHash.from_embeddings(np.load(folder / "vectors.npy"), records, None, columns=["text"])
    stands = list(range(len(texts)))
    for found in index.self_deduplicate(threshold=threshold).filtered:
        stands[int(found.record["n"])] = int(found.duplicate_of["n"])
    return stands


run(stands_at)
