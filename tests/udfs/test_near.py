"""Near-duplicates on Arrow data: the keys by which texts meet, and the pairs of a group that are truly alike."""

from __future__ import annotations

import pyarrow as pa
import pytest

from udfs.minhash import MinHashSettings
from udfs.near import EDGES_DDL, KEYS_DDL, alike, near_keys
from udfs.shingles import jaccard, shingles

RIVER = (
    "A river begins in the hills, where rain and melting snow run together into small streams. The streams join, grow "
    "slower and wider on the plain, and carry sand and clay with them until the water meets the sea at a broad mouth."
)
NEAR = RIVER.replace("broad", "wide")
CHINESE = "光合作用是植物利用光能，把二氧化碳和水转化为糖并放出氧气的过程。它发生在叶绿体中，需要光。"
TEXTS = {"river": RIVER, "near": NEAR, "zh": CHINESE, "blank": " ", "twin": f"{RIVER}\n"}


def names(ddl: str) -> list[str]:
    return [column.split()[0] for column in ddl.split(", ")]


def compared(
    pairs: list[tuple[str, str]], threshold: float, texts: dict[str, str] = TEXTS
) -> list[tuple[str, str, float]]:
    ends = pa.table(
        {"a_id": [a for a, _ in pairs], "b_id": [b for _, b in pairs]},
        schema=pa.schema([("a_id", pa.string()), ("b_id", pa.string())]),
    )
    read = pa.table({"item_id": list(texts), "text": list(texts.values())})
    found = alike(ends, read, MinHashSettings(threshold=threshold))
    assert found.schema.names == names(EDGES_DDL)
    return [tuple(row.values()) for row in found.to_pylist()]


def test_keys_say_what_is_equal_what_may_be_alike_and_what_has_no_like() -> None:
    made = pa.RecordBatch.from_pydict(near_keys(list(TEXTS.values()), MinHashSettings()))
    assert made.schema.names == names(KEYS_DDL)
    river, near, chinese, blank, twin = made.to_pylist()
    assert river == twin
    assert river["shingle_hash"] != near["shingle_hash"]
    assert set(river["bands"]) & set(near["bands"])
    assert not set(river["bands"]) & set(chinese["bands"])
    assert [len(one["bands"]) for one in (river, near, chinese)] == [28] * 3
    assert blank == {"shingle_hash": None, "n_shingles": 0, "bands": []}
    assert near["n_shingles"] == shingles(NEAR).size


def test_no_texts_have_no_keys() -> None:
    assert pa.RecordBatch.from_pydict(near_keys([], MinHashSettings())).num_rows == 0


def test_only_pairs_at_or_over_the_true_jaccard_stay() -> None:
    truth = jaccard(shingles(RIVER), shingles(NEAR))
    assert 0.7 < truth < 1
    pairs = [("river", "near"), ("river", "zh"), ("river", "twin"), ("blank", "blank")]
    assert compared(pairs, truth) == [("river", "near", truth), ("river", "twin", 1.0)]
    assert compared(pairs, 1.0) == [("river", "twin", 1.0)]
    assert compared([], 0.7) == []


def test_a_pair_without_a_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 ends of 1 pairs have no text"):
        compared([("river", "gone")], 0.7)
