"""semhash on ready vectors: its index, and deduplication of the set against itself."""

from __future__ import annotations

import numpy as np
from pairs import arguments, planted_pairs, tell, timed, vectors_of
from semhash import SemHash


def main() -> None:
    """Measures; the records are the numbers of rows as text, as semhash takes texts."""
    args = arguments()
    rows = vectors_of(args.folder)
    records = [str(i) for i in range(len(rows))]

    def work() -> list[int]:
        index = SemHash.from_embeddings(rows, records, model=None)
        return [int(record) for record in index.self_deduplicate(threshold=args.threshold).selected]

    seconds, kept = timed(work)
    gone = np.ones(len(rows), np.bool_)
    gone[kept] = False
    seen = gone[planted_pairs(args.folder)].any(axis=1).mean()
    tell(seconds=round(seconds, 1), removed=int(gone.sum()), planted_covered=round(float(seen), 5))


main()
