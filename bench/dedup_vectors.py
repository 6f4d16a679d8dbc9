"""Vectors with planted duplicates, in seeded parts on disk: the same rows each time, made only where they are missing.

Rows lie around topics whose sizes fall as 1 / rank, so that the largest of 5,000 holds a tenth of all, in 64 dimensions of the 384. Groups of duplicates
have 2 to 2,000 members, many small and few large ones, spread over all parts: a base vector and noisy copies of it, at cosines of about .90 to .995 to
it; one copy in ten is the same bit by bit. A planted pair is a base and its copy whose cosine, of the stored half floats, is at or over the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from udfs.embedding import to_binary

DIM, INNER = 384, 64
PART = 250_000
TOPICS, SPREAD = 5000, 0.8
LARGEST, TAIL = 2000, 2.4
# Two rows of the crowd have a cosine of .85 on average.
CROWD_SPREAD = 0.42
THRESHOLD = 0.9
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Planted:
    """Rows 0..n-1, of which about `share` are members of groups of duplicates, and the part `crowd` of all rows lies in one place, where most pairs are
    nearly alike and a few in a thousand are."""

    folder: Path
    n: int
    crowd: float = 0.0
    seed: int = 7
    share: float = 0.06

    @property
    def parts(self) -> list[Path]:
        """The files, in order."""
        return [self.home / f"part-{i:05}.parquet" for i in range(-(-self.n // PART))]

    @property
    def home(self) -> Path:
        """Where the files of this size are: groups span all parts, so sizes share none."""
        return self.folder / (f"rows-{self.n}-crowd-{self.crowd}" if self.crowd else f"rows-{self.n}")

    @cached_property
    def groups(self) -> Array:
        """Sizes of the groups of duplicates."""
        sizes = np.arange(2, LARGEST + 1)
        weights = sizes ** -float(TAIL)
        mean = float((sizes * weights).sum() / weights.sum())
        random = np.random.default_rng(self.seed)
        return random.choice(sizes, max(1, round(self.n * self.share / mean)), p=weights / weights.sum())

    @cached_property
    def members(self) -> tuple[Array, Array]:
        """The row and the group of each member, the base of a group first."""
        group = np.repeat(np.arange(len(self.groups)), self.groups)
        rows = np.random.default_rng(self.seed + 1).permutation(self.n)[: len(group)]
        return rows, group[: len(rows)]

    @cached_property
    def pairs(self) -> Array:
        """The planted pairs that are not the same bit by bit, as rows (a, b) with a < b; shape (p, 2)."""
        return np.concatenate([np.load(path.with_suffix(".pairs.npy")) for path in self.parts])

    @cached_property
    def identical(self) -> int:
        """Rows whose vector is that of their base bit by bit."""
        return int(sum(np.load(path.with_suffix(".same.npy")) for path in self.parts))

    def make(self) -> None:
        """Writes the parts that are not there."""
        self.home.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(self.parts):
            if not path.exists():
                self._write(number, path)

    def _write(self, number: int, path: Path) -> None:
        rows = np.arange(number * PART, min(self.n, (number + 1) * PART))
        vectors = self._vectors(number, len(rows))
        pairs, same = self._plant(rows[0], vectors)
        np.save(path.with_suffix(".pairs.npy"), pairs)
        np.save(path.with_suffix(".same.npy"), same)
        table = pa.table({"item_id": ids(rows), "vector": pa.array(to_binary(vectors), pa.binary())})
        half_done = path.with_suffix(".half")
        pq.write_table(table, half_done, compression="none", use_dictionary=False, row_group_size=PART // 8)
        half_done.rename(path)

    @cached_property
    def _space(self) -> tuple[Array, Array, Array]:
        """The plane of the 64 dimensions in the 384, the topics in it, and the sums of their shares."""
        random = np.random.default_rng(self.seed + 2)
        plane = np.linalg.qr(random.normal(size=(DIM, INNER)))[0].T.astype(np.float32)
        share = 1 / np.arange(1, TOPICS + 1)
        return plane, random.normal(size=(TOPICS, INNER)).astype(np.float32), np.cumsum(share / share.sum())

    def _vectors(self, number: int, count: int) -> Array:
        random = np.random.default_rng([self.seed, 3, number])
        plane, topics, share = self._space
        inner = topics[np.minimum(np.searchsorted(share, random.random(count)), TOPICS - 1)]
        inner = inner + SPREAD * random.normal(size=inner.shape).astype(np.float32)
        if self.crowd:
            mine = random.random(count) < self.crowd
            inner[mine] = topics[0] + CROWD_SPREAD * random.normal(size=(mine.sum(), INNER)).astype(np.float32)
        return halves(inner @ plane)

    def _plant(self, first: int, vectors: Array) -> tuple[Array, int]:
        """Puts the members of groups into a part; returns its planted pairs, and how many copies are the same bit by bit."""
        every, group = self.members
        starts = np.concatenate([[0], np.cumsum(self.groups)])
        pairs, same = [], 0
        for place in np.flatnonzero((every >= first) & (every < first + len(vectors))):
            base = self._base(int(group[place]))
            if place == starts[group[place]]:
                vectors[every[place] - first] = base
                continue
            copy = self._copy(base, int(place))
            vectors[every[place] - first] = copy
            same += int((copy == base).all())
            if not (copy == base).all() and cosine(copy, base) >= THRESHOLD:
                other = int(every[starts[group[place]]])
                pairs.append(sorted((other, int(every[place]))))
        return np.array(pairs, dtype=np.int64).reshape(-1, 2), same

    def _base(self, group: int) -> Array:
        random = np.random.default_rng([self.seed, 4, group])
        plane, topics, share = self._space
        topic = topics[min(TOPICS - 1, int(np.searchsorted(share, random.random())))]
        inner = topic + SPREAD * random.normal(size=INNER).astype(np.float32)
        return halves(inner[None, :] @ plane)[0]

    def _copy(self, base: Array, place: int) -> Array:
        random = np.random.default_rng([self.seed, 5, place])
        if random.random() < 0.1:
            return base
        wanted = random.uniform(0.90, 0.995)
        # Half of the noise among the topics' dimensions, where cells are cut, half among all.
        noise = random.normal(size=INNER) @ self._space[0] / np.sqrt(INNER) + random.normal(size=DIM) / np.sqrt(DIM)
        noise /= np.linalg.norm(noise)
        return halves((base.astype(np.float64) + noise * np.sqrt(1 / wanted**2 - 1))[None, :])[0]


def halves(rows: Array) -> Array:
    """Scales rows to length 1, as half floats."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def cosine(a: Array, b: Array) -> float:
    """The cosine of two vectors in float64."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def ids(rows: Array) -> pa.Array:
    """Names of rows, as long as real ones: their number, and 16 hex digits of it multiplied."""
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return pa.array([f"{row:016x}{mix:016x}" for row, mix in zip(rows.tolist(), mixed.tolist(), strict=True)])


def row_of(names: Any) -> Array:
    """The numbers of rows by their names."""
    return np.array([int(name[:16], 16) for name in names], dtype=np.int64)
