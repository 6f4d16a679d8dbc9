"""Text of any size with near-duplicates whose truth is known: real passages under other words, some of them copied and edited.

A replica is the passages of three textbooks with each word in the place of another of like frequency, by a seeded permutation: two replicas share next
to no three words in a row, and the lengths and frequencies are those of real text. A fifth of the passages has one to twelve copies, in which a share of
the words is replaced. So two rows can only be alike inside a family (an original and its copies), and there their Jaccard is measured.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import zstandard

from udfs.minhash import MinHashSettings
from udfs.near import near_keys
from udfs.shingles import ShingleSets, jaccard_pairs

DATA = common.ROOT.parent / "shared" / "data" / "en"
THRESHOLD = 0.7
PASSAGE_WORDS = 300
COPIED = 0.2
RATES = (0.0, 0.01, 0.02, 0.04, 0.06, 0.1)
# Words change places with others of these many next in frequency.
LIKE = 64
FILES = 16
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])


def base_passages(folder: Path = DATA) -> list[list[str]]:
    """The textbooks' words in passages, without those that may be alike to another. Raises FileNotFoundError where the data is absent."""
    texts = [path.read_text("utf-8") for path in sorted((folder / "economics").glob("*.md"))]
    with (folder / "biology" / "biology.jsonl.zst").open("rb") as packed:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(packed), encoding="utf-8")
        texts += [max((v for v in json.loads(line).values() if isinstance(v, str)), key=len) for line in lines]
    history = pq.read_table(folder / "us_history" / "us_history.parquet").to_pylist()
    texts += [max((v for v in row.values() if isinstance(v, str)), key=len) for row in history]
    words = [text.split() for text in texts]
    cut = [one[at : at + PASSAGE_WORDS] for one in words for at in range(0, len(one), PASSAGE_WORDS)]
    return _apart([passage for passage in cut if len(passage) >= PASSAGE_WORDS // 3])


def _apart(passages: list[list[str]]) -> list[list[str]]:
    """The passages that share no band with one before them."""
    keys = near_keys([" ".join(passage) for passage in passages], MinHashSettings())
    seen: set[int] = set()
    apart = []
    for passage, bands in zip(passages, keys["bands"].to_pylist(), strict=True):
        if seen.isdisjoint(bands):
            apart.append(passage)
        seen.update(bands)
    return apart


def build(folder: Path, size: int, seed: int = 0) -> dict[str, int]:
    """Writes FILES Parquet files (id, text) of about `size` bytes of text together; returns rows and bytes. The id is FAMILY-COPY."""
    passages = base_passages()
    vocabulary, counts = np.unique([word for passage in passages for word in passage], return_counts=True)
    by_frequency = vocabulary[np.argsort(-counts, kind="stable")].astype(object)
    place = {word: number for number, word in enumerate(by_frequency)}
    numbers = [np.array([place[word] for word in passage]) for passage in passages]
    folder.mkdir(parents=True)
    rows = total = replica = 0
    writers = [pq.ParquetWriter(folder / f"{number:02}.parquet", SCHEMA) for number in range(FILES)]
    while total < size:
        rng = np.random.default_rng([seed, replica])
        made = list(_replica(numbers, by_frequency[_permuted(len(by_frequency), rng)], replica, rng))
        order = rng.permutation(len(made))
        for number, writer in enumerate(writers):
            part = [made[row] for row in order[number::FILES]]
            columns = [pa.array(column, pa.string()) for column in zip(*part, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
        rows, total, replica = rows + len(made), total + sum(len(text.encode()) for _, text in made), replica + 1
    for writer in writers:
        writer.close()
    return {"rows": rows, "bytes": total}


def _permuted(size: int, rng: np.random.Generator) -> Any:
    return np.concatenate([at + rng.permutation(min(LIKE, size - at)) for at in range(0, size, LIKE)])


def _replica(numbers: Sequence[Any], words: Any, replica: int, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    copied = rng.random(len(numbers)) < COPIED
    for number, passage in enumerate(numbers):
        yield f"{replica}.{number}-0", " ".join(words[passage])
        for copy in range(min(12, int(1 / (1 - rng.random()))) if copied[number] else 0):
            changed = np.where(
                rng.random(passage.size) < rng.choice(RATES), rng.integers(0, words.size, passage.size), passage
            )
            yield f"{replica}.{number}-{copy + 1}", " ".join(words[changed])


def build_skewed(folder: Path, rows: int) -> dict[str, int]:
    """Writes one passage so often, each time with another number in it: nearly all rows share nearly all buckets."""
    passage = base_passages()[0]
    return _write(folder, [[*passage[:150], f"number{row}", *passage[150:]] for row in range(rows)])


def build_crowd(folder: Path, rows: int) -> dict[str, int]:
    """Writes so many texts of which the first three quarters are the same and the rest is their own: they share buckets, and none is a duplicate."""
    passage, rng = base_passages()[0], np.random.default_rng(0)
    same, own = passage[:225], rng.integers(0, 1 << 40, (rows, 75))
    return _write(folder, [[*same, *map(str, numbers)] for numbers in own.tolist()])


def _write(folder: Path, texts: Sequence[Sequence[str]]) -> dict[str, int]:
    folder.mkdir(parents=True)
    joined = [" ".join(words) for words in texts]
    ids = pa.array([f"{folder.name}-{row}" for row in range(len(joined))])
    pq.write_table(pa.Table.from_arrays([ids, pa.array(joined)], schema=SCHEMA), folder / "00.parquet")
    return {"rows": len(joined), "bytes": sum(len(text.encode()) for text in joined)}


def score(folder: Path, kept: set[str], share: float) -> dict[str, float]:
    """Measures what a tool kept against the exact Jaccard of all pairs inside a sample of the families, those with the lowest hashes.

    `recall`: of the pairs at or over the threshold, those of which not both rows were kept. `precision`: of the removed rows, those that have a kept row
    at or over the threshold. A row is never near one of another family (see `strangers`).
    """
    families = _sampled(folder, share)
    texts = [text for family in families for _, text in family]
    ids = [name for family in families for name, _ in family]
    sizes = np.array([len(family) for family in families])
    starts = np.cumsum(sizes) - sizes
    pairs = [
        (a, b)
        for at, n in zip(starts.tolist(), sizes.tolist(), strict=True)
        for b in range(at, at + n)
        for a in range(at, b)
    ]
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    near = jaccard_pairs(ShingleSets.of(texts), a, b) >= THRESHOLD
    a, b, stays = a[near], b[near], np.array([name in kept for name in ids])
    covered = np.zeros(len(ids), dtype=np.bool_)
    covered[b[stays[a]]] = covered[a[stays[b]]] = True
    gone = int((~stays).sum())
    return {
        "true_pairs": len(a),
        "recall": float(1 - (stays[a] & stays[b]).mean()),
        "removed_rows": gone,
        "precision": float((covered & ~stays).sum() / gone) if gone else 1.0,
    }


def _sampled(folder: Path, share: float) -> list[list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for batch in ds.dataset(folder).to_batches():
        for name, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
            family = name.rpartition("-")[0]
            if int(hashlib.blake2b(family.encode(), digest_size=4).hexdigest(), 16) < share * 2**32:
                found.setdefault(family, []).append((name, text))
    return [sorted(family) for family in found.values()]


def strangers(folder: Path, rows: int = 1000) -> float:
    """The greatest Jaccard of two rows of different families, among all pairs of so many originals."""
    texts = [text for family in _sampled(folder, 1.0)[:rows] for _, text in family[:1]]
    a, b = np.triu_indices(len(texts), 1)
    return float(jaccard_pairs(ShingleSets.of(texts), a, b).max(initial=0.0))
