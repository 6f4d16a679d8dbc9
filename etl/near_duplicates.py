"""Near-duplicates by MinHash, whatever the skew: bands propose pairs, the true Jaccard decides, the greedy rule keeps the best.

What is compared. Rows with equal sets of shingles collapse first: the best stands for all, at Jaccard 1. The others meet in buckets, the rows that share a
band key. In a bucket of at most `Bounds.rows` rows all pairs are compared; in a larger one each row is compared with the `Bounds.heads` best rows alone, so
that the work grows with the rows and never with their square. Survivors are taken from all edges found so far, and the buckets that were too large go on
with the rows that are kept, at higher bounds; no pair is compared twice. That ends when no bucket was too large and no row came back (one whose only better
neighbour was removed after all), when a round at the highest bound found nothing, or after LAST_ROUND.

What the answer is. Only an edge to a kept row removes a row, so pairs with a removed end need no comparison. Once every two kept rows that share a bucket
have been compared, no kept row has an edge to another, and every removed row has one to a better kept row; only the sequential greedy answer over all
pairs that share a bucket is like that. Where a bucket stays too large (a crowd of rows that are half alike, as of one template), the same holds for the
pairs that were compared, and the figures `near_uncompared_pairs` (pairs of kept rows in such buckets, counted once a bucket) and `near_came_back` (rows that
came back in the last round) say what was left. Near-copies among a crowd still meet by their other bands. Rows that meet in no bucket are not compared: see
`MinHashSettings` for how rarely that happens to two that are alike.

Bytes. Texts, not shingles, go to where they are compared (a text is smaller than its hashes), once for each group of pairs that needs them; all pairs of a
bucket are in one group. No stage runs in one task, and no graph is held by the driver beyond `max_driver_edges`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.near_pairs import Bounds, Search, buckets, over, pairs_of, placed, uncompared, verified
from etl.survivors import removed_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A round takes near-copies away, so the next can look closer at what is left. In the worst case, where nothing is alike, a row is compared with the 64 best
# of each of its buckets.
BOUNDS = (Bounds(16, 4), Bounds(64, 16), Bounds(256, 64))
LAST_ROUND = 6


@dataclass
class Found:
    """`removed` has item_id, kept_id, cosine (the true Jaccard with the kept row); `figures` say what was compared."""

    removed: DataFrame
    figures: dict[str, float] = field(default_factory=dict)


def near_duplicates(search: Search, rows: DataFrame) -> Found:
    """Finds the rows that are near-duplicates of a kept row, each with the most similar kept row among those it was compared with.

    `rows` has item_id, priority (orderable, the smaller the better, ties by id), shingle_hash, n_shingles and bands (`udfs.near`), and `old`: rows that are
    kept whatever comes, of better priority than all others, and never compared with each other.
    """
    equal = search.tables.scratch("near_equal", _equal(rows.where("shingle_hash IS NOT NULL")))
    found = _in_rounds(search, rows.join(equal, "item_id", "left_anti"))
    return Found(_all_removed(equal, found.removed), found.figures)


def _equal(rows: DataFrame) -> DataFrame:
    """The rows that have the set of shingles of a better one, with the best of these."""
    same = Window.partitionBy("shingle_hash").orderBy("priority", "item_id")
    return rows.select("item_id", F.first("item_id").over(same).alias("kept_id")).where("item_id != kept_id")


def _all_removed(equal: DataFrame, removed: DataFrame) -> DataFrame:
    # A row equal to another shares its fate, so that it points to a kept row.
    fate = removed.selectExpr("item_id AS kept_id", "kept_id AS better", "cosine")
    shared = equal.join(fate, "kept_id", "left")
    return removed.unionByName(
        shared.selectExpr("item_id", "coalesce(better, kept_id) AS kept_id", "coalesce(cosine, 1.0D) AS cosine")
    )


@dataclass
class _Rounds:
    """What the rounds have come to. `large` are the rows of the buckets that were over the bound in the first one."""

    search: Search
    live: DataFrame
    removed: DataFrame
    large: DataFrame | None = None
    pairs: list[DataFrame] = field(default_factory=list)
    edges: list[DataFrame] = field(default_factory=list)
    compared: int = 0
    uncompared: int = 0
    came_back: int = 0

    def go_on(self, number: int) -> bool:
        """Compares what the bounds of a round allow, and judges again by all edges so far. Tells whether another round may find more."""
        bounds, tables = BOUNDS[min(number, len(BOUNDS) - 1)], self.search.tables
        rows = buckets(self.search, self.live) if self.large is None else self._kept(self.large)
        bucketed = tables.scratch(f"near_buckets_{number}", placed(rows))
        self.large = over(bucketed, bounds) if self.large is None else self.large
        self.uncompared = uncompared(bucketed, bounds)
        found = self._edges(number, bucketed, bounds)
        self.came_back = self._judge(number, found) if found is not None else 0
        new = number + 1 < len(BOUNDS) or found is not None
        return bool(self.came_back or (self.uncompared and new))

    def _edges(self, number: int, bucketed: DataFrame, bounds: Bounds) -> DataFrame | None:
        """The edges among the pairs that the bounds allow and no round before has compared; None where there is none."""
        tables, pairs = self.search.tables, pairs_of(bucketed, bounds, self.search.settings.threshold)
        for before in self.pairs:
            pairs = pairs.join(before.select("a_id", "b_id"), ["a_id", "b_id"], "left_anti")
        pairs = tables.scratch(f"near_pairs_{number}", pairs)
        told = pairs.agg(F.count(F.lit(1)).alias("pairs"), F.sum("shingles").alias("shingles")).first()
        if told is None or told["pairs"] == 0:
            return None
        self.pairs.append(pairs)
        self.compared += told["pairs"]
        edges = tables.scratch(f"near_edges_{number}", verified(self.search, pairs, told["pairs"], told["shingles"]))
        return None if edges.isEmpty() else edges

    def _judge(self, number: int, new: DataFrame) -> int:
        """Takes survivors from all edges; returns how many rows of the large buckets came back."""
        self.edges.append(new)
        every = reduce(lambda a, b: a.unionByName(b), self.edges)
        priority = self.live.select("item_id", "priority")
        survived = removed_rows(self.search.tables, every, priority, self.search.max_driver_edges)
        before, self.removed = self.removed, self.search.tables.scratch(f"near_removed_{number}", survived)
        return _came_back(before, self.removed, self.large) if number and self.large is not None else 0

    def _kept(self, rows: DataFrame) -> DataFrame:
        return rows.join(self.removed.select("item_id"), "item_id", "left_anti")

    def found(self, rounds: int) -> Found:
        """The rows that are removed in the end, and the figures."""
        counted = {"rounds": rounds, "compared_pairs": self.compared, "uncompared_pairs": self.uncompared}
        counted["came_back"] = self.came_back
        return Found(self.removed, {f"near_{name}": float(value) for name, value in counted.items()})


def _in_rounds(search: Search, live: DataFrame) -> Found:
    nothing = search.tables.spark.createDataFrame([], "item_id string, kept_id string, cosine double")
    rounds, number = _Rounds(search, live, nothing), 0
    while rounds.go_on(number) and number + 1 < LAST_ROUND:
        number += 1
    return rounds.found(number + 1)


def _came_back(before: DataFrame, removed: DataFrame, large: DataFrame) -> int:
    """How many rows of the buckets that were too large at first are kept now and were not in the round before."""
    back = before.join(removed.select("item_id"), "item_id", "left_anti").select("item_id")
    return back.join(large.select("item_id"), "item_id", "left_semi").count()
