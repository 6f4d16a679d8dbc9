"""Near-duplicates on Arrow data: by what a text meets others (bands), by what it equals them, and which of a group are truly alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from udfs.minhash import MinHashSettings, band_keys, has_bands, signatures
from udfs.shingles import ShingleSets, jaccard_pairs

KEYS_DDL = "shingle_hash string, n_shingles int, bands array<bigint>"
EDGES_DDL = "a_id string, b_id string, cosine double"
_EDGES = pa.schema([("a_id", pa.string()), ("b_id", pa.string()), ("cosine", pa.float64())])


def near_keys(texts: Sequence[str], settings: MinHashSettings) -> dict[str, pa.Array]:
    """Computes the columns of KEYS_DDL: equal `shingle_hash` means Jaccard 1, a common band a pair worth comparing.

    A text of white space has no hash (null) and no bands: it is nobody's duplicate.
    """
    sets = ShingleSets.of(texts, settings.ngram_words, settings.ngram_chars)
    signature = signatures(sets, settings)
    there = has_bands(signature)
    ends = np.concatenate(([0], np.cumsum(there * settings.bands)))
    keys = band_keys(signature[there], settings).ravel()
    return {
        "shingle_hash": pa.array(sets.digests(), pa.string()),
        "n_shingles": pa.array(sets.sizes, pa.int32()),
        "bands": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(keys, pa.int64())),
    }


def alike(pairs: pa.Table, texts: pa.Table, settings: MinHashSettings) -> pa.Table:
    """Returns the pairs (a_id, b_id) whose true Jaccard is at or over the threshold, with it, as EDGES_DDL.

    `texts` has item_id and text of each row of the pairs, once. Raises ValueError where one is missing.
    """
    ids = texts.column("item_id").combine_chunks()
    a, b = (pc.index_in(pairs.column(side), value_set=ids) for side in ("a_id", "b_id"))
    if a.null_count or b.null_count:
        raise ValueError(f"{a.null_count + b.null_count} ends of {pairs.num_rows} pairs have no text.")
    sets = ShingleSets.of(texts.column("text").to_pylist(), settings.ngram_words, settings.ngram_chars)
    similarity = jaccard_pairs(sets, a.to_numpy().astype(np.int64), b.to_numpy().astype(np.int64))
    found = pa.Table.from_arrays([pairs.column("a_id"), pairs.column("b_id"), pa.array(similarity)], schema=_EDGES)
    return found.filter(pa.array(similarity >= settings.threshold))
