"""The cluster agent's arithmetic, and a judge with known clusters over HTTP who must come out at the known score."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.udfs.engines.helpers import Script, ScriptedServer, completion, spec_for
from udfs.cluster_agent import (
    ALL_SAMPLES,
    CLUSTERS,
    KEPT_SAMPLES,
    TASKS,
    assumed_clusters,
    assumed_criteria,
    criteria_text,
    draw_of,
    finish,
    judged,
    needs_verdicts,
    scores,
)
from udfs.engines import ChatRequest, load_engine
from udfs.tasks import TASKS as ALL_TASKS


def cluster(number: int, *members: int) -> dict[str, Any]:
    return {"cluster": number, "members": list(members), "reasoning": ""}


@given(st.integers(0, 500), st.integers(2, 20), st.integers(1, 60))
def test_a_draw_has_every_round_and_no_text_twice_in_a_pass(texts: int, samples: int, rounds: int) -> None:
    draw = draw_of(texts, samples, rounds)
    assert draw.per_pass * samples <= texts
    if texts >= samples:
        assert draw.per_pass * (draw.passes - 1) < rounds <= draw.per_pass * draw.passes
    else:
        assert (draw.per_pass, draw.passes) == (0, 1)


# By hand, of 10 samples each: ten clusters of one; one of all; one of four kept, two of three removed; five pairs.
HAND = [(10, 10), (1, 10), (1, 4), (5, 10)]


def test_the_score_is_the_mean_over_rounds_in_each_reading() -> None:
    found = scores(HAND, samples=10, seed=1)
    assert {metric: each.value for metric, each in found.items()} == {
        ALL_SAMPLES: (100 + 1 + 1 + 25) / 10 / 4,
        KEPT_SAMPLES: (10 + 0.1 + 0.25 + 2.5) / 4,
        CLUSTERS: 17 / 4,
    }
    assert all(each.low < each.value < each.high for each in found.values())
    assert found == scores(HAND[::-1], samples=10, seed=1)


def test_both_readings_are_one_where_nothing_is_removed() -> None:
    found = scores([(5, 10), (2, 10)], samples=10, seed=1)
    assert found[ALL_SAMPLES] == found[KEPT_SAMPLES]


def test_edges_of_the_score() -> None:
    nothing = scores([(0, 0), (10, 10)], samples=10, seed=1)
    assert {each.value for each in nothing.values()} == {5.0}
    assert math.isnan(scores([(3, 10)], samples=10, seed=1)[ALL_SAMPLES].low)
    with pytest.raises(ValueError, match="at least one round"):
        scores([], samples=10, seed=1)


def test_a_cluster_of_one_is_valid_whatever_is_said() -> None:
    clusters = [cluster(1, 1, 2), cluster(2, 3)]
    verdicts = [{"cluster": number, "valid": False, "reason": "no"} for number in (1, 2)]
    assert [(c["valid"], c["reason"]) for c in judged(clusters, verdicts)] == [
        (False, "no"),
        (True, "a cluster of one sample"),
    ]
    assert needs_verdicts(clusters)
    assert not needs_verdicts(clusters[1:])


SINGLES = [cluster(1, 1), cluster(2, 2), cluster(3, 3)]
PAIR = [cluster(1, 1, 2), cluster(2, 3)]
ROUND: dict[str, Any] = {
    "items": "qa",
    "round": 0,
    "item_ids": ["a", "b", "c"],
    "criteria": "- c: C.",
    "clusters": PAIR,
    "judged": judged(PAIR, [{"cluster": 1, "valid": False, "reason": "no"}]),
    **{f"{part}_request_id": part[0] for part in ("criteria", "clusters", "judged")},
    **{f"{part}_error": None for part in ("criteria", "clusters", "judged")},
}


@pytest.mark.parametrize(
    ("change", "fate", "counts"),
    [
        ({}, ("ok", None, None), (1, 1)),
        ({"clusters": SINGLES, "judged": None, "judged_request_id": None}, ("ok", None, None), (3, 3)),
        ({"item_ids": None, "criteria": None}, ("rejected", "too_few_texts", None), None),
        ({"criteria": None, "criteria_error": "cut"}, ("rejected", "llm_unusable", "criteria: cut"), None),
        ({"clusters": None, "clusters_error": "empty"}, ("rejected", "llm_unusable", "clusters: empty"), None),
        ({"judged": None, "judged_error": "noise"}, ("rejected", "llm_unusable", "verification: noise"), None),
        ({"judged": None}, ("rejected", "llm_unusable", "verification: not asked"), None),
    ],
)
def test_every_round_ends_with_its_counts_or_a_reason(
    change: dict[str, Any], fate: tuple[str, str | None, str | None], counts: tuple[int, int] | None
) -> None:
    made = finish({**ROUND, **change})
    assert (made["status"], made.get("reason"), made.get("error")) == fate
    assert (made["n_clusters"], made["n_kept"]) == counts if counts else "n_clusters" not in made


def test_a_round_names_its_calls() -> None:
    assert finish(ROUND)["request_ids"] == ["c", "c", "j"]
    assert finish({**ROUND, "clusters": SINGLES, "judged": None, "judged_request_id": None})["request_ids"] == [
        "c",
        "c",
    ]


def test_criteria_are_a_line_each() -> None:
    metric = {"name": "sums", "criteria": "By sums.", "levels": ["none", "", "", "", "all"]}
    value = {"metadata": [{"name": "phase", "criteria": "By\n phase."}], "metrics": [metric]}
    assert criteria_text(value) == "- phase: By phase.\n- sums, from 1 (none) to 5 (all): By sums."


@pytest.mark.parametrize("samples", [2, 5, 10])
def test_assumed_answers_are_answers(samples: int) -> None:
    row = {"texts": ["x"] * samples}
    assert ALL_TASKS["cluster_criteria"].parse(assumed_criteria(), row).error is None
    assert needs_verdicts(ALL_TASKS["cluster_texts"].parse(assumed_clusters(samples), row).value)


def test_the_tasks_are_there() -> None:
    assert set(TASKS) <= set(ALL_TASKS)


@pytest.fixture
def serve() -> Iterator[Callable[[Script], ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(script: Script) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def known_judge(body: dict[str, Any], number: int) -> tuple[int, object]:
    """Sorts by the first word of each sample; finds clusters of three invalid."""
    system, user = (message["content"] for message in body["messages"])
    if "Task: cluster_verify" in system:
        lines = [json.loads(line) for line in user.split("<clusters>\n")[1].split("\n</clusters>")[0].splitlines()]
        said = [{"cluster": c["cluster"], "valid": int(len(c["samples"]) != 3), "reason": "size"} for c in lines]
        return 200, completion(json.dumps({"verdicts": said}))
    words = [part.split("\n")[1].split()[0] for part in user.split("<sample_")[1:]]
    named = [[n for n, word in enumerate(words, 1) if word == one] for one in dict.fromkeys(words)]
    made = [{"cluster": n, "samples": members, "reasoning": "word"} for n, members in enumerate(named, 1)]
    return 200, completion(json.dumps({"clusters": made}))


def asked(server: ScriptedServer, name: str, row: dict[str, Any]) -> Any:
    task, engine = ALL_TASKS[name], load_engine(spec_for(server.url))
    request = ChatRequest(name, "m", tuple(task.render(row)), {}, task.schema, "", task.problem)
    (result,) = engine.complete([request])
    parsed = task.read(result, row)
    assert parsed.error is None
    return parsed.value


def test_a_judge_with_known_clusters_comes_out_at_the_known_score(serve: Callable[[Script], ScriptedServer]) -> None:
    server = serve(known_judge)
    counts = []
    for words in ("abcdefghij", "aaaaaaaaaa", "abbaccabcc", "aabbccddee"):
        row = {"lang": "en", "criteria": "- word: By word.", "texts": [f"{word} text" for word in words]}
        clusters = asked(server, "cluster_texts", row)
        more = asked(server, "cluster_verify", {**row, "clusters": clusters}) if needs_verdicts(clusters) else None
        made = finish({**ROUND, "clusters": clusters, "judged": more and judged(clusters, more)})
        counts.append((made["n_clusters"], made["n_kept"]))
    assert counts == HAND
    assert len(server.bodies) == 4 + 3
    assert scores(counts, samples=10, seed=0)[ALL_SAMPLES].value == 3.175
