"""Survivors: equal to going through the rows one by one, whatever the order of the edges."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.similarity import collapse_identical, pairs_over
from udfs.survivors import components, greedy_survivors

Edge = tuple[int, int, float]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[Edge], list[int]]:
    n = draw(st.integers(1, 14))
    node = st.integers(0, n - 1)
    # Few different cosines, so that ties occur.
    edges = draw(st.lists(st.tuples(node, node, st.sampled_from([0.9, 0.95, 1.0])), max_size=40))
    return n, edges, draw(st.permutations(range(n)))


def arrays(edges: list[Edge]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, cosine = zip(*edges, strict=True) if edges else ((), (), ())
    return np.array(a, dtype=np.int64), np.array(b, dtype=np.int64), np.array(cosine, dtype=np.float64)


def one_by_one(n: int, edges: list[Edge], rank: list[int]) -> list[int]:
    kept_of: dict[int, int] = {}
    for node in sorted(range(n), key=lambda one: rank[one]):
        near = [(other, cosine) for a, b, cosine in edges for one, other in ((a, b), (b, a)) if one == node]
        keepers = [(-cosine, rank[other], other) for other, cosine in near if kept_of.get(other) == other]
        kept_of[node] = min(keepers)[2] if keepers else node
    return [kept_of[node] for node in range(n)]


@settings(deadline=None)
@given(graphs(), st.randoms(use_true_random=False))
def test_equals_the_sequential_greedy_for_any_order_of_edges(graph: tuple[int, list[Edge], list[int]], random) -> None:
    n, edges, rank = graph
    shuffled = [(b, a, cosine) if random.random() < 0.5 else (a, b, cosine) for a, b, cosine in edges * 2]
    random.shuffle(shuffled)
    for version in (edges, shuffled):
        a, b, cosine = arrays(version)
        assert greedy_survivors(a, b, np.array(rank), n, cosine).tolist() == one_by_one(n, edges, rank)


@settings(deadline=None)
@given(graphs())
def test_kept_rows_are_apart_and_removed_rows_have_a_kept_neighbour(graph: tuple[int, list[Edge], list[int]]) -> None:
    n, edges, rank = graph
    a, b, _ = arrays(edges)
    kept_of = greedy_survivors(a, b, np.array(rank), n)
    joined = {frozenset((one, other)) for one, other, _ in edges if one != other}
    kept = {node for node in range(n) if kept_of[node] == node}
    assert not any(pair <= kept for pair in joined)
    for node in set(range(n)) - kept:
        assert kept_of[node] in kept
        assert frozenset((node, int(kept_of[node]))) in joined
        assert rank[kept_of[node]] < rank[node]


@settings(deadline=None)
@given(graphs(), st.data())
def test_batches_in_order_of_priority_give_the_same(
    graph: tuple[int, list[Edge], list[int]], data: st.DataObject
) -> None:
    n, edges, rank = graph
    seen = data.draw(st.integers(0, n))
    early = [edge for edge in edges if rank[edge[0]] < seen and rank[edge[1]] < seen]
    first = greedy_survivors(*arrays(early)[:2], np.array(rank), n, arrays(early)[2])
    whole = greedy_survivors(*arrays(edges)[:2], np.array(rank), n, arrays(edges)[2])
    old = np.flatnonzero(np.array(rank) < seen)
    assert np.array_equal(first[old], whole[old])


@settings(deadline=None)
@given(graphs())
def test_components_keep_the_best_of_each(graph: tuple[int, list[Edge], list[int]]) -> None:
    n, edges, rank = graph
    group = list(range(n))
    for _ in range(n):
        for a, b, _cosine in edges:
            group = [min(group[a], group[b]) if one in (group[a], group[b]) else one for one in group]
    best = {one: min((rank[i], i) for i in range(n) if group[i] == one)[1] for one in set(group)}
    a, b, _ = arrays(edges)
    assert components(a, b, np.array(rank), n).tolist() == [best[one] for one in group]


def test_a_chain_keeps_every_other_node_or_one_of_all() -> None:
    n = 200_000
    links = np.array(list(pairwise(range(n))))
    assert np.array_equal(greedy_survivors(links[:, 0], links[:, 1], np.arange(n), n), np.arange(n) // 2 * 2)
    assert not components(links[:, 0], links[:, 1], np.arange(n), n).any()


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(-2, 2)] * 3).filter(any), min_size=1, max_size=14))
def test_collapsing_identical_vectors_first_changes_no_survivor(rows: list[tuple[int, ...]]) -> None:
    vectors = np.array(rows, dtype=np.float32)
    n = len(vectors)
    i, j, cosine = pairs_over(vectors, None, 0.8)
    whole = greedy_survivors(i, j, np.arange(n), n, cosine)
    first = collapse_identical(vectors)
    leaders = np.unique(first)
    i, j, cosine = pairs_over(vectors[leaders], None, 0.8)
    fate = greedy_survivors(i, j, np.arange(leaders.size), leaders.size, cosine)
    collapsed = leaders[fate][np.searchsorted(leaders, first)]
    assert np.array_equal(whole == np.arange(n), collapsed == np.arange(n))


def test_an_edge_may_be_given_any_number_of_times() -> None:
    many = np.zeros(256, dtype=np.int64)
    assert components(many, many + 1, np.arange(3), 3).tolist() == [0, 0, 2]
    assert greedy_survivors(many, many + 1, np.arange(3), 3).tolist() == [0, 0, 2]


def test_a_removed_row_points_to_the_nearest_kept_one() -> None:
    a, b = np.array([0, 1]), np.array([2, 2])
    assert greedy_survivors(a, b, np.arange(3), 3, np.array([0.91, 0.99])).tolist() == [0, 1, 1]
    assert greedy_survivors(a, b, np.arange(3), 3).tolist() == [0, 1, 0]


def test_no_edges_keep_all() -> None:
    none = np.empty(0, dtype=np.int64)
    assert greedy_survivors(none, none, np.arange(3), 3).tolist() == [0, 1, 2]
    assert components(none, none, np.arange(3), 3).tolist() == [0, 1, 2]
    assert greedy_survivors(none, none, none, 0).size == components(none, none, none, 0).size == 0


@pytest.mark.parametrize(
    ("a", "b", "rank", "cosine", "message"),
    [
        ([0], [3], [0, 1, 2], [0.9], "outside 0..2"),
        ([-1], [1], [0, 1, 2], [0.9], "outside 0..2"),
        ([0], [1], [0, 1], [0.9], "2 ranks for 3 nodes"),
        ([0], [1], [0, 5, 5], [0.9], "nodes 1 and 2 have the same rank"),
        ([0], [1], [0, 1, 2], [np.nan], "edge 0 is NaN"),
        ([0, 1], [1], [0, 1, 2], [0.9, 0.9], "2 edges and b 1"),
    ],
)
def test_graphs_that_make_no_sense_are_refused(a, b, rank, cosine, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        greedy_survivors(np.array(a), np.array(b), np.array(rank), 3, np.array(cosine))
