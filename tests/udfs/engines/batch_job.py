"""Asks the stand-in by batches in a process of its own, to be killed: `python -m tests.udfs.engines.batch_job URL FOLDER COUNT`."""

from __future__ import annotations

import sys

from tests.udfs.engines.helpers import ask, batch_spec
from udfs.engines import load_engine


def main(url: str, folder: str, count: int) -> None:
    """Prints the id and the status of each result."""
    for result in load_engine(batch_spec(url, folder)).complete([ask(f"job {n}") for n in range(count)]):
        print(result.request_id, result.status, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
