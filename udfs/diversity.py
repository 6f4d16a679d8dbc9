"""Diversity measures in closed form from `udfs.moments.Moments`: the cost depends on d, never on the number of rows.

With unit vectors and the cosine kernel K, the n x n matrix K / n and the d x d matrix S2 / n have the same nonzero
eigenvalues lam, which sum to 1. Most measures here grow with n, so compare sets of equal n. All of them score nonsense
as diverse: gate quality first. Values that rounding moves past the end of a measure's range are set to that end.

Nothing here ever returns NaN. A set of no rows has no measure, a set of one row has no mean pairwise cosine: the single
functions raise `ValueError` then, and `all_measures` leaves the measure out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from udfs.intervals import Interval, jackknife_interval
from udfs.moments import Moments, merge

VENDI_ORDERS: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, math.inf)

_NOISE = {True: 1e-12, False: 5e-6}
"""Eigenvalues up to this part of the largest are rounding noise, by `Moments.exact`: a small q would count them."""


def spectrum(moments: Moments) -> NDArray[np.float64]:
    """Eigenvalues of S2 / n over the rounding noise, in ascending order, at most min(n, d) of them; they sum to 1."""
    _need_rows(moments, 1, "a spectrum")
    values = np.linalg.eigvalsh(moments.s2 / moments.n)[-moments.n :]
    return np.asarray(values[values > _NOISE[moments.exact] * values[-1]], dtype=np.float64)


def vendi(moments: Moments, q: float = 1.0) -> float:
    """Vendi score of order q, the effective number of distinct rows, from 1 to min(n, d).

    exp of the Renyi entropy of the eigenvalues: q=1 exp(-sum lam log lam), q=inf 1 / max lam, else
    (sum lam^q)^(1 / (1 - q)). A small q counts rare directions, a large one only the dominant.
    Source: Friedman and Dieng 2022; Pasarkar and Dieng 2023 for q.
    """
    return _vendi_of(spectrum(moments), q)


def rke(moments: Moments) -> float:
    """Renyi kernel entropy score, 1 / ||S2 / n||_F^2: Vendi at q=2 without eigenvalues. Source: Jalali et al. 2023."""
    _need_rows(moments, 1, "rke")
    return max(float(moments.n**2 / np.sum(moments.s2**2)), 1.0)


def remote_clique(moments: Moments) -> float:
    """Mean cosine distance over all n^2 ordered pairs, 1 - |S1|^2 / n^2, from 0 (all equal) to 1.

    It is also the mean squared distance to the mean, the inertia of one centroid.
    """
    _need_rows(moments, 1, "remote_clique")
    return max(float(1 - moments.s1 @ moments.s1 / moments.n**2), 0.0)


def mean_cosine(moments: Moments) -> float:
    """Mean cosine of two different rows, (|S1|^2 - n) / (n (n - 1)); needs two rows. Lower is more diverse."""
    _need_rows(moments, 2, "mean_cosine")
    return min(float((moments.s1 @ moments.s1 - moments.n) / (moments.n * (moments.n - 1))), 1.0)


def log_det(moments: Moments) -> float:
    """log det(I + K) in nats: the log volume a determinantal point process gives the whole set."""
    return _log_det_of(spectrum(moments), moments.n)


def all_measures(moments: Moments) -> dict[str, float]:
    """Every measure that is defined for this many rows, by metric name, with one eigendecomposition.

    Names: `vendi_q0.1`, `vendi_q0.5`, `vendi_q1`, `vendi_q2`, `vendi_qinf`, `rke`, `remote_clique`, `log_det`,
    `mean_cosine`. No rows: none of them; one row: all but `mean_cosine`.
    """
    if moments.n == 0:
        return {}
    values = spectrum(moments)
    found = {f"vendi_q{q:g}": _vendi_of(values, q) for q in VENDI_ORDERS}
    found |= {"rke": rke(moments), "remote_clique": remote_clique(moments), "log_det": _log_det_of(values, moments.n)}
    if moments.n > 1:
        found["mean_cosine"] = mean_cosine(moments)
    return found


def jackknife(groups: Sequence[Moments], measure: Callable[[Moments], float]) -> Interval:
    """Value of `measure` on all rows with its 95 % interval, by leaving out one group of rows at a time.

    `groups` are the moments of fixed, disjoint groups (by key hash, say, 10 to 50 of them), at least two with rows. The
    interval is for the set at its own n: it doesn't make sets of different n comparable.
    """
    total, filled = _total_and_filled(groups)
    left_out = [measure(rest) for rest in _leave_one_out(total, filled)]
    return jackknife_interval(measure(total), left_out, [group.n for group in filled])


def all_intervals(groups: Sequence[Moments]) -> dict[str, Interval]:
    """`all_measures` with jackknife intervals, one eigendecomposition a group.

    Only measures that stay defined without any one group appear; with fewer than two groups that have rows none does.
    """
    if sum(group.n > 0 for group in groups) < 2:
        return {}
    total, filled = _total_and_filled(groups)
    without = [all_measures(rest) for rest in _leave_one_out(total, filled)]
    return {
        name: jackknife_interval(value, [found[name] for found in without], [group.n for group in filled])
        for name, value in all_measures(total).items()
        if all(name in found for found in without)
    }


def _vendi_of(values: NDArray[np.float64], q: float) -> float:
    if not q > 0:
        raise ValueError(f"the order q of a Vendi score must be positive, got {q}")
    if math.isinf(q):
        score = 1 / values.max()
    elif q == 1:
        score = np.exp(-np.sum(values * np.log(values)))
    else:
        score = np.sum(values**q) ** (1 / (1 - q))
    return max(float(score), 1.0)


def _log_det_of(values: NDArray[np.float64], n: int) -> float:
    return float(np.sum(np.log1p(n * values)))


def _total_and_filled(groups: Sequence[Moments]) -> tuple[Moments, list[Moments]]:
    filled = [group for group in groups if group.n > 0]
    if len(filled) < 2:
        raise ValueError(f"a jackknife needs at least two groups that have rows, got {len(filled)}")
    return merge(filled), filled


def _leave_one_out(total: Moments, groups: Sequence[Moments]) -> Iterator[Moments]:
    return (total.subtract(group) for group in groups)


def _need_rows(moments: Moments, rows: int, what: str) -> None:
    if moments.n < rows:
        raise ValueError(f"{what} needs at least {rows} row(s), got {moments.n}")
