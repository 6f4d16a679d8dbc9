"""Which pairs of vectors are at or over a cosine, by products in half precision on a GPU: the pairs of `udfs.similarity`, to the last bit.

Half precision only proposes pairs, and each is decided in float64 as on a CPU. None is missed, because a score is off by less than `margin`:

- Rows are scaled to length 64 in float64 and rounded to float16. A number is then off by 2^-11 of itself at most; a subnormal one, which a GPU may take for
  zero, by 2^-14. Of its length, a row of d numbers is off by r = 2^-11 + sqrt(d) 2^-20, and the product of two rows by 2r + r^2.
- A product of two half floats is exact in float32, and no sum of some of them is over (1 + r)^2 of the lengths. Tensor cores take four or more products at a
  time, and cut each of these, the sum so far, and the new sum at 2^-23 of the largest (M. Fasi et al., Numerical behavior of NVIDIA tensor cores, PeerJ CS
  7:e330, 2021): three cuts for two products at most, less than d 2^-22 in all. A CPU, which rounds to the nearest, is nearer.
- The sum is rounded to float16. That keeps order, and the bound it is compared with is a half float itself, so it costs no margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from udfs.similarity import Pairs, Vectors, decided, directionless

if TYPE_CHECKING:
    from torch import Tensor

# What rows are scaled to: a power of two, far from the smallest half floats and from the largest.
_LENGTH = 64.0
# Rows of a block of scores, and scores of a block: 2 GiB. Smaller ones leave the GPU waiting for Python, larger ones compute more of a triangle twice.
_ROWS, _SCORES = 1 << 14, 1 << 30
# A block takes no more than this share of the memory that is free: other tasks may be on the same GPU.
_FREE_SHARE = 4
# Scores that need no look at the free memory, 32 MiB.
_FEW_SCORES = 1 << 24
# Scores looked through one by one at a time: where all match, their pairs take 256 MiB.
_PICKED = 1 << 24
# Values in float64 at a time, 128 MiB.
_WIDE_VALUES = 1 << 24


@dataclass(frozen=True)
class DeviceRows:
    """Vectors ready to be compared: `values` (n, d) as they came, `half` the same at length 64 in float16, on the device."""

    values: Vectors
    half: Tensor

    def __getitem__(self, rows: slice) -> DeviceRows:
        return DeviceRows(self.values[rows], self.half[rows])

    def __len__(self) -> int:
        return len(self.values)


class DeviceSimilarity:
    """Compares on one device of torch (`cuda:0`), in blocks of so many `scores`; None: as many as its free memory takes."""

    def __init__(self, device: str, scores: int | None = None) -> None:
        import torch

        self._device = torch.device(device)
        self._scores = scores

    def ready(self, vectors: Vectors) -> DeviceRows:
        """Scales vectors, of any float type and of any length but zero, on the device. Raises ValueError, naming the row, for zeros, NaN or infinity."""
        import torch

        given = torch.from_numpy(np.require(vectors, requirements=("C", "W")))
        step = max(1, _WIDE_VALUES // max(1, vectors.shape[1]))
        with self._within_memory():
            half = torch.empty(vectors.shape, dtype=torch.float16, device=self._device)
            for start in range(0, len(vectors), step):
                wide = given[start : start + step].to(self._device).double()
                lengths = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
                odd = (~(torch.isfinite(lengths) & (lengths > 0))).flatten().nonzero()
                if odd.numel():
                    row = int(odd[0])
                    raise directionless("vectors", start + row, float(lengths[row]))
                half[start : start + step] = wide * (_LENGTH / lengths)
        return DeviceRows(vectors, half)

    def alike(
        self, left: DeviceRows, right: DeviceRows | None, threshold: float, first: int | None = None
    ) -> Iterator[Pairs]:
        """Yields what `udfs.similarity.alike` yields, in other parts."""
        import torch

        other = left if right is None else right
        end = len(left) if first is None else first
        bound = half_below((threshold - margin(left.values.shape[1])) * _LENGTH**2)
        height, width = self._block(end, len(other))
        with self._within_memory():
            room = torch.empty(height * width, dtype=torch.float16, device=self._device)
            for a in range(0, end, height):
                rows = left.half[a : min(a + height, end)]
                for b in range(a if right is None else 0, len(other), width):
                    columns = other.half[b : b + width]
                    scores = room[: len(rows) * len(columns)].view(len(rows), len(columns))
                    with _sums_in_float32():
                        torch.mm(rows, columns.T, out=scores)
                    if right is None and a == b:
                        scores.fill_diagonal_(-1)
                    for i, j in _at_or_over(scores, bound):
                        i, j = i + a, j + b
                        if right is None:
                            i, j = i[i < j], j[i < j]
                        yield from decided(left.values, other.values, (i, j), threshold)

    def _block(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of a block of scores. It has as many columns as rows where it can, so that a triangle's diagonal lies in the first of a row."""
        scores = self._scores or self._room(rows * columns)
        height = max(1, min(rows, _ROWS, math.isqrt(scores)))
        return height, max(1, min(columns, scores // height))

    def _room(self, wanted: int) -> int:
        import torch

        if wanted <= _FEW_SCORES or self._device.type != "cuda":
            return _FEW_SCORES
        free, _ = torch.cuda.mem_get_info(self._device)
        return max(_FEW_SCORES, min(_SCORES, free // _FREE_SHARE // 2))

    @contextmanager
    def _within_memory(self) -> Iterator[None]:
        import torch

        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise MemoryError(
                f"comparing vectors on {self._device}: {error} Leave it more memory, or set `embed.device: cpu`."
            ) from error


def margin(dim: int) -> float:
    """Returns by how much the cosine of a score of vectors of `dim` numbers may be off, before it is rounded to a half float; the module says why."""
    return 2.0**-10 + 2.0**-20 + math.sqrt(dim) * 2.0**-19 + dim * 2.0**-22


def half_below(value: float) -> float:
    """Returns the largest half float that is not over a value between -65504 and 65504."""
    half = np.float16(value)
    return float(half if float(half) <= value else np.nextafter(half, np.float16(-np.inf)))


@contextmanager
def _sums_in_float32() -> Iterator[None]:
    """By itself, torch lets cuBLAS add up the parts of a sum in float16."""
    import torch

    settings = torch.backends.cuda.matmul
    before = settings.allow_fp16_reduced_precision_reduction
    settings.allow_fp16_reduced_precision_reduction = False
    try:
        yield
    finally:
        settings.allow_fp16_reduced_precision_reduction = before


def _at_or_over(scores: Tensor, bound: float) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields the places (i, j) of the scores at or over a bound. Most rows have none, and the largest of a row is found faster than all that pass."""
    some = (scores.amax(dim=1) >= bound).nonzero().flatten()
    step = max(1, _PICKED // scores.shape[1])
    for start in range(0, len(some), step):
        rows = some[start : start + step]
        i, j = (scores[rows] >= bound).nonzero(as_tuple=True)
        yield rows[i].cpu().numpy(), j.cpu().numpy()
