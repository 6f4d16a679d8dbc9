"""What the programs that look for near-duplicates share: arguments and settings. Standard library alone: each runs in an environment of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

WORDS, BANDS, ROWS, THRESHOLD = 3, 28, 5, 0.7


def arguments() -> argparse.Namespace:
    """`texts` is a folder of Parquet files (id, text), `out` a folder to make, into which the kept rows go, `cores` how many processes may work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("cores", type=int)
    return parser.parse_args()
