"""All pairs by float32 products in blocks, with numpy on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pairs import arguments, tell_pairs, timed, vectors_of

BLOCK = 2048


def all_pairs(rows: np.ndarray[Any, Any], threshold: float) -> Iterator[np.ndarray[Any, Any]]:
    """Yields a * n + b of the pairs at or over the threshold, of one half of the matrix."""
    n = len(rows)
    for at in range(0, n, BLOCK):
        for other in range(at, n, BLOCK):
            a, b = np.nonzero(rows[at : at + BLOCK] @ rows[other : other + BLOCK].T >= threshold)
            a, b = a + at, b + other
            yield (a * n + b)[a < b]


def main() -> None:
    """Measures."""
    args = arguments()
    rows = vectors_of(args.folder)
    seconds, found = timed(lambda: list(all_pairs(rows, args.threshold)))
    tell_pairs(args.folder, len(rows), found, seconds)


main()
