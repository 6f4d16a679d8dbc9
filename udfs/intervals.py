"""Intervals for what is measured on a sample: Wilson for a share, bootstrap for any statistic, jackknife for groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z_95 = 1.96
"""Standard normal quantile of a two-sided 95 % interval."""


class Interval(NamedTuple):
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


def wilson(successes: ArrayLike, n: ArrayLike, z: float = Z_95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score interval of a share: arrays `low` and `high`, element by element; (0, 1) where n = 0.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    k, total = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if not np.all((k >= 0) & (k <= total)):
        raise ValueError("successes must lie between 0 and n in every element")
    asked = total > 0
    safe = np.where(asked, total, 1.0)
    share = k / safe
    centre = (share + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z / (1 + z**2 / safe) * np.sqrt(share * (1 - share) / safe + z**2 / (4 * safe**2))
    return np.where(asked, np.clip(centre - half, 0, 1), 0.0), np.where(asked, np.clip(centre + half, 0, 1), 1.0)


def bootstrap(
    values: NDArray[Any],
    statistic: Callable[[NDArray[Any]], float],
    *,
    seed: int,
    rounds: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of `statistic` over `rounds` resamples with replacement of the rows of `values`."""
    if len(values) == 0:
        raise ValueError("a bootstrap needs at least one row")
    if rounds < 1 or not 0 < level < 1:
        raise ValueError(f"a bootstrap needs rounds >= 1 and 0 < level < 1, got rounds={rounds}, level={level}")
    random = np.random.default_rng(seed)
    draws = [statistic(values[random.integers(0, len(values), len(values))]) for _ in range(rounds)]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(values)), float(low), float(high))


def jackknife_interval(value: float, left_out: Sequence[float], sizes: Sequence[int], z: float = Z_95) -> Interval:
    """Interval of `value` by delete-a-group: `left_out[j]` was measured without group j, which holds `sizes[j]` rows.

    Groups may differ in size. The value itself is reported as measured, without the jackknife's bias correction.
    Source: Busing, Meijer and van der Leeden, "Delete-m jackknife for unequal m", 1999.
    """
    if len(left_out) != len(sizes) or len(sizes) < 2 or min(sizes) < 1:
        raise ValueError("a jackknife needs at least two groups, none of them empty, and one value for each")
    without, rows = np.asarray(left_out, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    ratio = rows.sum() / rows
    pseudo = ratio * value - (ratio - 1) * without
    corrected = len(rows) * value - np.sum((1 - 1 / ratio) * without)
    half = z * float(np.sqrt(np.mean((pseudo - corrected) ** 2 / (ratio - 1))))
    return Interval(value, value - half, value + half)
