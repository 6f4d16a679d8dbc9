"""Comparison by half precision, on torch's CPU device: the pairs of `pairs_over` to the last bit, whatever the blocks."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import udfs.device_similarity
from udfs.comparison import CPU, comparer
from udfs.device_similarity import DeviceSimilarity, half_below, margin
from udfs.similarity import Comparable, alike, pairs_over

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs the embed extra: pip install 'boostqa[embed]'"
)
ROOT = Path(__file__).resolve().parents[2]
KINDS = ("anywhere", "around centres", "mostly copies", "numbers of all sizes")
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def rows_of(kind: str, n: int, seed: int, dtype: type, dim: int = 24) -> np.ndarray:
    """Rows of many lengths. Around centres, many cosines lie about .9; copies are the same bit by bit."""
    random = np.random.default_rng(seed)
    if kind == "anywhere":
        rows = random.normal(size=(n, dim))
    else:
        centres = random.normal(size=(max(1, n // 6), dim))
        rows = centres[random.integers(0, len(centres), n)]
        rows = rows + (0.33 if kind == "around centres" else 0.01) * random.normal(size=rows.shape)
        if kind == "numbers of all sizes":
            rows = rows**7
        if kind == "mostly copies":
            rows[n // 2 :] = rows[random.integers(0, max(1, n // 2), n - n // 2)]
    return (rows * random.uniform(0.1, 9, size=(n, 1))).astype(dtype)


def found(by: DeviceSimilarity, left: np.ndarray, right: np.ndarray | None, threshold: float) -> Found:
    one = by.ready(left)
    return in_order(by.alike(one, None if right is None else by.ready(right), threshold))


def in_order(parts) -> Found:
    made = [*parts, (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    i, j, cosine = (np.concatenate(part) for part in zip(*made, strict=True))
    order = np.lexsort((j, i))
    return i[order], j[order], cosine[order]


def assert_same(one: Found, other: Found) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.integers(0, 70),
    st.sampled_from([1, 2, 7, 60, 500, 100_000]),
    st.integers(0, 100),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.sampled_from([0.0005, 0.5, 0.9, 0.97, 1.0]),
)
def test_one_set_has_the_same_pairs_and_bits(
    kind: str, n: int, scores: int, seed: int, dtype: type, threshold: float
) -> None:
    rows = rows_of(kind, n, seed, dtype)
    assert_same(found(DeviceSimilarity("cpu", scores), rows, None, threshold), pairs_over(rows, None, threshold))


@settings(max_examples=40)
@given(
    st.sampled_from(KINDS),
    st.integers(0, 50),
    st.integers(0, 50),
    st.sampled_from([1, 7, 60, 100_000]),
    st.integers(0, 100),
)
def test_two_sets_have_the_same_pairs_and_bits(kind: str, n: int, m: int, scores: int, seed: int) -> None:
    rows = rows_of(kind, n + m, seed, np.float16)
    left, right = rows[:n], rows[n:]
    assert_same(found(DeviceSimilarity("cpu", scores), left, right, 0.85), pairs_over(left, right, 0.85))


@settings(max_examples=25)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([1, 60, 100_000]), st.integers(0, 100))
def test_the_first_rows_and_slices_are_those_of_the_cpu(n: int, first: int, scores: int, seed: int) -> None:
    rows, first = rows_of("around centres", n, seed, np.float16), min(n, first)
    by, ready, one = DeviceSimilarity("cpu", scores), DeviceSimilarity("cpu").ready(rows), Comparable.of(rows)
    assert_same(in_order(by.alike(ready, None, 0.9, first)), in_order(alike(one, None, 0.9, first=first)))
    a, b = slice(0, first), slice(first, n)
    assert_same(in_order(by.alike(ready[a], ready[b], 0.9)), in_order(alike(one[a], one[b], 0.9)))


@pytest.mark.parametrize("dim", [1, 3, 129, 384, 2048])
def test_a_threshold_that_is_a_pairs_own_cosine_includes_it(dim: int) -> None:
    rows = rows_of("around centres", 60, dim, np.float16, dim)
    _, _, cosine = pairs_over(rows, None, 0.5)
    assert cosine.size
    by = DeviceSimilarity("cpu", 1000)
    for threshold in np.sort(cosine)[:: max(1, cosine.size // 20)]:
        assert_same(found(by, rows, None, float(threshold)), pairs_over(rows, None, float(threshold)))


@pytest.mark.parametrize("dim", [4093, 4092, 1023])
def test_rows_whose_every_number_is_rounded_the_same_way_are_found(dim: int) -> None:
    rows = np.ones((5, dim), dtype=np.float32)
    i, _, cosine = found(DeviceSimilarity("cpu"), rows, None, 1.0)
    assert (i.size, set(cosine)) == (10, {1.0})


def test_the_bound_is_a_half_float_and_never_over_what_it_is_made_of() -> None:
    for value in (-1.0, -0.3, 0.0, 1e-9, 0.5, 0.8989, np.nextafter(0.5, 0), 1.0):
        half = half_below(value)
        assert half <= value < float(np.nextafter(np.float16(half), np.float16(np.inf)))
        assert half == np.float16(half)
    assert 0.001 < margin(384) < 0.0012


@pytest.mark.parametrize("dim", [2, 384, 1024])
def test_scores_in_half_precision_are_within_the_margin(dim: int) -> None:
    import torch

    rows = rows_of("around centres", 80, dim, np.float32, dim)
    half = DeviceSimilarity("cpu").ready(rows).half
    scores = (half.float() @ half.float().T).double().numpy() / 64**2
    wide = torch.from_numpy(rows).double().numpy()
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    off = np.abs(scores - unit @ unit.T).max()
    assert 1e-5 < off < margin(dim)


@pytest.mark.parametrize(
    ("value", "what"), [(0.0, "is all zeros"), (np.nan, "NaN or infinity"), (np.inf, "NaN or inf")]
)
def test_vectors_without_direction_are_refused_by_row(value: float, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udfs.device_similarity, "_WIDE_VALUES", 100)
    rows = np.ones((90, 8), dtype=np.float16)
    rows[77] = value
    with pytest.raises(ValueError, match=f"row 77 .*{what}"):
        DeviceSimilarity("cpu").ready(rows)


def test_vectors_that_can_not_be_written_are_taken() -> None:
    rows = rows_of("mostly copies", 20, 1, np.float16)
    read_only = np.frombuffer(rows.tobytes(), dtype="<f2").reshape(rows.shape)
    assert_same(found(DeviceSimilarity("cpu"), read_only[::2], None, 0.9), pairs_over(rows[::2], None, 0.9))


def test_many_matching_pairs_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udfs.device_similarity, "_PICKED", 1000)
    by = DeviceSimilarity("cpu")
    ready = by.ready((np.ones((200, 16)) + 0.01 * np.random.default_rng(0).normal(size=(200, 16))).astype(np.float32))
    sizes = [len(i) for i, _, _ in by.alike(ready, None, 0.9)]
    assert sum(sizes) == 200 * 199 // 2
    assert max(sizes) <= 1000


def test_a_gpu_is_taken_where_it_is_named_and_torch_is_not_imported_before() -> None:
    assert {comparer(name) for name in ("auto", "cpu", "mps")} == {CPU}
    assert isinstance(comparer("cuda:0"), DeviceSimilarity)
    code = "import sys, udfs.comparison, udfs.device_similarity as d; d.margin(384); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


def test_too_little_memory_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    by = DeviceSimilarity("cpu")
    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(MemoryError, match=r"embed\.device: cpu"):
        by.ready(np.ones((2, 2), dtype=np.float16))
