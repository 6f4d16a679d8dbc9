"""text-dedup's MinHash by its command line, and its kept rows as Parquet."""

from __future__ import annotations

import shutil
import subprocess
import sys

from client import tell
from datasets import load_from_disk
from near import BANDS, ROWS, THRESHOLD, WORDS, arguments


def main() -> None:
    """One call of its module."""
    args = arguments()
    work = args.out.with_name(f"{args.out.name}-work")
    options = {
        "path": "parquet",
        "data_files": f"{args.texts}/*.parquet",
        "split": "train",
        "cache_dir": f"{work}/cache",
        "output": f"{work}/kept",
        "column": "text",
        "ngram": WORDS,
        "min_length": 1,
        "num_perm": BANDS * ROWS,
        "b": BANDS,
        "r": ROWS,
        "threshold": THRESHOLD,
        "num_proc": args.cores,
        # Its fastest hashes.
        "hash_func": "xxh3",
        "hash_bits": 32,
    }
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    subprocess.run([sys.executable, "-m", "text_dedup.minhash", *given], check=True)
    args.out.mkdir()
    load_from_disk(f"{work}/kept").select_columns(["id"]).to_parquet(f"{args.out}/kept.parquet")
    shutil.rmtree(work)
    tell(0)


if __name__ == "__main__":
    main()
