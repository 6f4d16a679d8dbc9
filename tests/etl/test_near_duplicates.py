"""Near-duplicates by rounds over bounded buckets equal the greedy answer over all pairs that share a bucket."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from etl import near_duplicates as module
from etl.near_duplicates import near_duplicates
from etl.near_pairs import Bounds, Search
from udfs.minhash import MinHashSettings
from udfs.near import near_keys
from udfs.shingles import ShingleSets, jaccard
from udfs.survivors import greedy_survivors

if TYPE_CHECKING:
    from etl.tables import Tables

SETTINGS = MinHashSettings(threshold=0.7)
ROWS_DDL = (
    "item_id string, priority array<double>, old boolean, shingle_hash string, n_shingles int, bands array<bigint>"
)
Make = Callable[[], "Tables"]


@dataclass(frozen=True)
class Doc:
    """A text with its rank: the smaller the better."""

    id: str
    text: str
    rank: tuple[float, ...]
    old: bool = False


Removed = dict[str, tuple[str, float]]


def by_joins(tables: Tables, docs: Sequence[Doc], partitions: int = 3) -> tuple[Removed, dict[str, float]]:
    keys = {name: column.to_pylist() for name, column in near_keys([doc.text for doc in docs], SETTINGS).items()}
    columns = zip(*keys.values(), strict=True)
    rows = [(doc.id, list(doc.rank), doc.old, *row) for doc, row in zip(docs, columns, strict=True)]
    read = tables.spark.createDataFrame(rows, ROWS_DDL).repartition(partitions)
    texts = tables.spark.createDataFrame([(doc.id, doc.text) for doc in docs], "item_id string, text string")
    search = Search(tables, texts, SETTINGS, 1000, has_old=any(doc.old for doc in docs))
    found = near_duplicates(search, tables.scratch("rows", read))
    removed = found.removed.collect()
    assert len(removed) == len({row["item_id"] for row in removed})
    return {row["item_id"]: (row["kept_id"], row["cosine"]) for row in removed}, found.figures


def one_by_one(docs: Sequence[Doc]) -> set[str]:
    """The rows that the greedy rule removes, from all pairs that share a bucket."""
    ranked = sorted(docs, key=lambda doc: (doc.rank, doc.id))
    sets = ShingleSets.of([doc.text for doc in ranked])
    bands = [set(one) for one in near_keys([doc.text for doc in ranked], SETTINGS)["bands"].to_pylist()]
    lists = [sets[row] for row in range(len(ranked))]
    pairs = [
        (a, b)
        for b in range(len(ranked))
        for a in range(b)
        if bands[a] & bands[b] and jaccard(lists[a], lists[b]) >= SETTINGS.threshold
    ]
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    kept_of = greedy_survivors(a, b, np.arange(len(ranked)), len(ranked))
    return {ranked[row].id for row in np.flatnonzero(kept_of != np.arange(len(ranked)))}


def check(docs: Sequence[Doc], removed: Removed) -> None:
    """Removed is what the greedy rule removes, each by a kept row with which it has that Jaccard."""
    assert set(removed) == one_by_one(docs)
    by_id = {doc.id: doc for doc in docs}
    for item, (keeper, similarity) in removed.items():
        assert keeper not in removed
        pair = ShingleSets.of([by_id[item].text, by_id[keeper].text])
        assert similarity == jaccard(pair[0], pair[1]) >= SETTINGS.threshold
        assert (by_id[keeper].rank, keeper) < (by_id[item].rank, item)


def words(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(count)]


def families(count: int, seed: int, batch: float = 0.0) -> list[Doc]:
    """Texts with up to six variants each, of which some are equal but for layout."""
    rng = random.Random(seed)
    docs = []
    for family in range(count):
        # The families of one number are the same text under every seed.
        text = words(60, family)
        for variant in range(rng.randint(1, 6)):
            changed = list(text)
            for _ in range(rng.choice([0, 0, 1, 2, 3])):
                changed[rng.randrange(60)] = rng.choice(text)
            name = f"{batch:.0f}-{family:02}-{variant}"
            docs.append(Doc(name, rng.choice([" ", "\n"]).join(changed), (float(batch), float(rng.randint(0, 3)))))
    return docs


def templated(count: int) -> list[Doc]:
    """One text with a number in it: all of them share most of their buckets, and the first outranks the others."""
    text, numbers = words(120, 1), [f"number{n}" for n in range(count)]
    return [
        Doc(f"{n:04}", " ".join([*text[:60], number, *text[60:]]), (float(n % 97),)) for n, number in enumerate(numbers)
    ]


def overlapping(seed: int, count: int = 40, span: int = 120) -> list[Doc]:
    """Windows over one sequence: each is alike to those that begin near it, so that what one takes away another may bring back."""
    sequence, rng = words(60 + span, 2), random.Random(seed)
    ranks = rng.sample(range(count), count)
    starts = [rng.randrange(span) for _ in range(count)]
    return [
        Doc(f"{n:03}", " ".join(sequence[start : start + 60]), (float(ranks[n]),)) for n, start in enumerate(starts)
    ]


def crowd(count: int) -> list[Doc]:
    """Texts of one template, three quarters of which are the same, so that they share buckets and are no duplicates; and a near-copy of each."""
    template, docs = words(120, 3), []
    for n in range(count):
        text = [*template[:90], *words(30, 1000 + n)]
        docs += [Doc(f"{n:03}", " ".join(text), (0.0,)), Doc(f"{n:03}-copy", " ".join([*text, "again"]), (1.0,))]
    return docs


def test_families_lose_all_but_the_greedy_answer(scratch_tables: Make) -> None:
    docs = [*families(25, 5), Doc("blank", " ", (0.0,)), Doc("blanker", "\n\n", (0.0,))]
    removed, figures = by_joins(scratch_tables(), docs)
    check(docs, removed)
    assert len(removed) > 20
    assert 1.0 in {similarity for _, similarity in removed.values()}
    assert figures["near_rounds"] == 1
    assert figures["near_uncompared_pairs"] == 0


def test_templated_copies_cost_as_many_comparisons_as_rows_and_not_their_square(scratch_tables: Make) -> None:
    docs = templated(300)
    removed, figures = by_joins(scratch_tables(), docs)
    check(docs, removed)
    assert len(removed) == 299
    assert figures["near_compared_pairs"] < 20 * len(docs)
    assert figures["near_uncompared_pairs"] == 0


@pytest.mark.long
@pytest.mark.parametrize("partitions", [1, 7])
def test_what_comes_back_is_compared_again(
    scratch_tables: Make, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    # Buckets this small need rounds on forty rows. Of this seed, the second round brings a row back, and the third takes it away.
    monkeypatch.setattr(module, "BOUNDS", (Bounds(2, 1), Bounds(2, 1), Bounds(64, 8)))
    docs = overlapping(21)
    removed, figures = by_joins(scratch_tables(), docs, partitions)
    check(docs, removed)
    assert figures["near_rounds"] == 3
    assert figures["near_uncompared_pairs"] == figures["near_came_back"] == 0


def test_what_the_last_round_left_is_told(scratch_tables: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOUNDS", (Bounds(2, 1),))
    monkeypatch.setattr(module, "LAST_ROUND", 1)
    removed, figures = by_joins(scratch_tables(), overlapping(21))
    assert figures["near_uncompared_pairs"] > 0
    assert all(keeper not in removed for keeper, _ in removed.values())


@pytest.mark.long
def test_later_rows_are_judged_against_what_was_kept_as_in_one_go(scratch_tables: Make) -> None:
    first, second = families(12, 1, batch=0), families(14, 2, batch=1)
    removed, _ = by_joins(scratch_tables(), first)
    kept = [Doc(doc.id, doc.text, doc.rank, old=True) for doc in first if doc.id not in removed]
    later, figures = by_joins(scratch_tables(), [*kept, *second])
    check([*first, *second], {**removed, **later})
    assert not {doc.id for doc in kept} & set(later)
    again, nothing = by_joins(scratch_tables(), kept)
    assert (again, nothing["near_compared_pairs"]) == ({}, 0)
    assert figures["near_compared_pairs"] > 0


def test_near_copies_in_a_crowd_that_is_half_alike_are_found_and_the_crowd_is_given_up(
    scratch_tables: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The heads are no copies: these meet by the bands that they do not share with the crowd.
    monkeypatch.setattr(module, "BOUNDS", (Bounds(3, 1), Bounds(4, 2)))
    docs = crowd(20)
    removed, figures = by_joins(scratch_tables(), docs)
    check(docs, removed)
    assert len(removed) == 20
    assert figures["near_rounds"] == 2, "the first at the highest bound that finds nothing is the last"
    assert figures["near_compared_pairs"] < 40 * 39 / 2
    assert figures["near_uncompared_pairs"] > 0


def test_old_rows_of_a_crowd_are_neither_compared_nor_counted_as_left(
    scratch_tables: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BOUNDS", (Bounds(3, 1),))
    docs = crowd(30)[::2]
    rows = [*[Doc(doc.id, doc.text, doc.rank, old=True) for doc in docs[1:]], Doc("new", docs[0].text, (1.0,))]
    removed, figures = by_joins(scratch_tables(), rows)
    assert removed == {}
    assert 0 < figures["near_compared_pairs"] < 29
    # Counted once a bucket: of the new row 28 at most, of which there are 28.
    assert 0 < figures["near_uncompared_pairs"] <= 28 * 28
