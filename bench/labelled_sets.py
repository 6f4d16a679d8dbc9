"""Duplicates with true labels, and what a tool's answer is worth on them, whatever the tool."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from real_rows import chinese_questions, data_is_there

Pair = tuple[int, int]


@dataclass(frozen=True)
class Labelled:
    """Texts, and the pairs of them that are duplicates. `others`: the pairs that are known not to be; None: all the rest."""

    name: str
    texts: list[str]
    same: frozenset[Pair]
    others: frozenset[Pair] | None = None

    def judge(self, stands: Sequence[int]) -> dict[str, Any]:
        """Precision, recall and F1 of an answer: for each text, the one that stands for it (itself where it is kept).

        Two texts are taken for duplicates when one text stands for both. Pairs without a label do not count.
        """
        groups: dict[int, list[int]] = defaultdict(list)
        for text, keeper in enumerate(stands):
            groups[keeper].append(text)
        said = {pair for group in groups.values() for pair in combinations(sorted(group), 2)}
        known = said if self.others is None else said & (self.same | self.others)
        right = len(known & self.same)
        precision = right / len(known) if known else 1.0
        recall = right / len(self.same) if self.same else 1.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        removed = sum(keeper != text for text, keeper in enumerate(stands))
        told = {"precision": precision, "recall": recall, "f1": f1}
        return {"removed": removed, "pairs_judged": len(known), **{name: round(v, 4) for name, v in told.items()}}


def labelled_sets(limit: int | None = None) -> list[Labelled]:
    """All sets; of each at most so many labelled pairs for a try."""
    data = data_is_there() / "pairs"
    return [_rephrased(data, limit), _paws(data, limit), _records(data, limit), _chinese(limit)]


def _rephrased(data: Path, limit: int | None) -> Labelled:
    with (data / "gsm8k_rephrased_first600.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:limit]
    texts = [text for row in rows for text in (row["original"], row["rephrased"])]
    same = frozenset((2 * i, 2 * i + 1) for i in range(len(rows)))
    return Labelled("gsm8k_rephrased", texts, same)


def _paws(data: Path, limit: int | None) -> Labelled:
    lines = (data / "paws_x_zh_dev.tsv").read_text("utf-8").splitlines()[1:]
    pairs = [(first, second, label == "1") for _, first, second, label in (line.split("\t") for line in lines)]
    return _of_pairs("paws_x_zh", pairs[:limit])


def _records(data: Path, limit: int | None) -> Labelled:
    pairs = []
    for part in ("train", "valid", "test"):
        for line in (data / "dblp_acm" / f"{part}.txt").read_text("utf-8").splitlines():
            first, second, label = line.split("\t")
            pairs.append((_record(first), _record(second), label == "1"))
    return _of_pairs("dblp_acm", pairs[:limit])


def _record(text: str) -> str:
    """The values alone: the names of the columns are the same in all."""
    return " ".join(part.partition(" VAL ")[2].strip() for part in text.split("COL ") if part)


def _chinese(limit: int | None) -> Labelled:
    """Questions are the same when their context and their answer are."""
    asked = chinese_questions()[: limit and 4 * limit]
    told: dict[str, list[int]] = defaultdict(list)
    for n, (_, same) in enumerate(asked):
        told[same].append(n)
    same = frozenset(pair for group in told.values() for pair in combinations(group, 2))
    return Labelled("cmrc2018_questions", [question for question, _ in asked], same)


def _of_pairs(name: str, pairs: Sequence[tuple[str, str, bool]]) -> Labelled:
    numbers: dict[str, int] = {}
    found: dict[Pair, bool] = {}
    for first, second, same in pairs:
        a, b = (numbers.setdefault(text, len(numbers)) for text in (first, second))
        if a != b:
            found[min(a, b), max(a, b)] = same
    same_pairs = frozenset(pair for pair, same in found.items() if same)
    return Labelled(name, list(numbers), same_pairs, frozenset(found) - same_pairs)
