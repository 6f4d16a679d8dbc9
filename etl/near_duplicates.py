"""Near-duplicates by MinHash, whatever the skew: bands propose pairs, the true Jaccard decides, the greedy rule keeps the best.

What is compared. Rows with equal sets of shingles collapse first: the best stands for all, at Jaccard 1. The others meet in buckets, the rows that share a
band key. In a bucket of at most `Bounds.rows` rows all pairs are compared; in a larger one each row is compared with the `Bounds.heads` best rows alone, so
that the work grows with the rows and never with their square. Survivors are taken from all edges found so far, and the buckets that were too large go on
with the rows that are kept, at higher bounds; no pair is compared twice. Buckets that are too large for the highest bound hold rows that are half alike, as
of one template, and near-copies among them that no head is like: these are looked for where rows share a second band too. That ends when no bucket was too
large and no row came back (one whose only better neighbour was removed after all), when a second band found nothing, or after LAST_ROUND.

What the answer is. Only an edge to a kept row removes a row, so pairs with a removed end need no comparison. Once every two kept rows that share a bucket
have been compared, no kept row has an edge to another, and every removed row has one to a better kept row; only the sequential greedy answer over all
pairs that share a bucket is like that. Otherwise the same holds for the pairs that were compared, and the figures `near_uncompared_pairs` (at most so many
pairs of kept rows in the buckets that were still too large, counted once a bucket) and `near_came_back` (rows that came back in the last round) say what
was left. Rows that meet in no bucket are not compared: see `MinHashSettings` for how rarely that happens to two that are alike.

Bytes. Texts, not shingles, go to where they are compared (a text is smaller than its hashes), once for each group of pairs that needs them; all pairs of a
bucket are in one group. No stage runs in one task, and no graph is held by the driver beyond `max_driver_edges`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.near_pairs import Bounds, Search, buckets, over, pairs_of, placed, split, uncompared, verified
from etl.survivors import removed_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A round takes near-copies away, so the next can look closer at what is left. In the worst case, where nothing is alike, a row is compared with 64 others
# for each of its bands, and then with 16 to 63 for each of them in the first round that finds nothing by a second band.
BOUNDS = (Bounds(16, 4), Bounds(64, 16), Bounds(256, 64))
SPLIT = Bounds(64, 16)
LAST_ROUND = 8


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
    """What the rounds have come to. `large` are the rows of the buckets that were over the bound in the first one, `crowded` those that still were in the
    last one without a second band."""

    search: Search
    live: DataFrame
    removed: DataFrame
    large: DataFrame
    crowded: DataFrame
    pairs: list[DataFrame] = field(default_factory=list)
    edges: list[DataFrame] = field(default_factory=list)
    compared: int = 0
    uncompared: int = 0
    came_back: int = 0

    @classmethod
    def first(cls, search: Search, live: DataFrame) -> _Rounds:
        """The first round, over all buckets."""
        nothing = search.tables.spark.createDataFrame([], "item_id string, kept_id string, cosine double")
        bucketed = search.tables.scratch("near_buckets_0", placed(buckets(search, live)))
        large = over(bucketed, BOUNDS[0])
        rounds = cls(search, live, nothing, large, large)
        rounds._whole(0, bucketed)
        return rounds

    def go_on(self, number: int) -> bool:
        """Another round; tells whether there may be more to find."""
        if number >= len(BOUNDS) and not self.came_back:
            second = split(self._kept(self.crowded), self.live, number - len(BOUNDS) + 1)
            bucketed = self.search.tables.scratch(f"near_buckets_{number}", placed(second))
            return self._compare(number, bucketed, SPLIT)
        self._whole(number, self.search.tables.scratch(f"near_buckets_{number}", placed(self._kept(self.large))))
        return True

    def is_done(self) -> bool:
        """Tells whether all kept rows that share a bucket have been compared."""
        return not self.uncompared and not self.came_back

    def _whole(self, number: int, bucketed: DataFrame) -> None:
        bounds = BOUNDS[min(number, len(BOUNDS) - 1)]
        self.crowded, self.uncompared = over(bucketed, bounds), uncompared(bucketed, bounds)
        self._compare(number, bucketed, bounds)

    def _compare(self, number: int, bucketed: DataFrame, bounds: Bounds) -> bool:
        """Compares what the bounds allow in these buckets, and judges again by all edges so far. Tells whether there was a new edge."""
        self.came_back = 0
        tables = self.search.tables
        every = pairs_of(bucketed, bounds, self.search.settings.threshold)
        pairs = tables.scratch(f"near_pairs_{number}", self._new(every))
        told = pairs.agg(F.count(F.lit(1)).alias("pairs"), F.sum("shingles").alias("shingles")).first()
        if told is None or told["pairs"] == 0:
            return False
        self.pairs.append(pairs)
        self.compared += told["pairs"]
        edges = tables.scratch(f"near_edges_{number}", verified(self.search, pairs, told["pairs"], told["shingles"]))
        if edges.isEmpty():
            return False
        self.edges.append(edges)
        before, self.removed = self.removed, tables.scratch(f"near_removed_{number}", self._survived())
        self.came_back = _came_back(before, self.removed, self.large) if number else 0
        return True

    def _new(self, pairs: DataFrame) -> DataFrame:
        for before in self.pairs:
            pairs = pairs.join(before.select("a_id", "b_id"), ["a_id", "b_id"], "left_anti")
        return pairs

    def _survived(self) -> DataFrame:
        every = reduce(lambda a, b: a.unionByName(b), self.edges)
        priority = self.live.select("item_id", "priority")
        return removed_rows(self.search.tables, every, priority, self.search.max_driver_edges)

    def _kept(self, rows: DataFrame) -> DataFrame:
        return rows.join(self.removed.select("item_id"), "item_id", "left_anti")

    def found(self, rounds: int) -> Found:
        """The rows that are removed in the end, and the figures."""
        if rounds > len(BOUNDS) and self.uncompared:
            self.uncompared = uncompared(placed(self._kept(self.large)), BOUNDS[-1])
        counted = {"rounds": rounds, "compared_pairs": self.compared, "uncompared_pairs": self.uncompared}
        counted["came_back"] = self.came_back
        return Found(self.removed, {f"near_{name}": float(value) for name, value in counted.items()})


def _in_rounds(search: Search, live: DataFrame) -> Found:
    rounds, number = _Rounds.first(search, live), 1
    while number < LAST_ROUND and not rounds.is_done():
        number += 1
        if not rounds.go_on(number - 1):
            break
    return rounds.found(number)


def _came_back(before: DataFrame, removed: DataFrame, large: DataFrame) -> int:
    """How many rows of the buckets that were too large at first are kept now and were not in the round before."""
    back = before.join(removed.select("item_id"), "item_id", "left_anti").select("item_id")
    return back.join(large.select("item_id"), "item_id", "left_semi").count()
