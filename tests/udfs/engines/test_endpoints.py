"""Addresses, keys, and the probe that `boostqa check` sends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.udfs.engines.helpers import Script, ScriptedServer, batch_spec, spec_for
from udfs.engines import FatalEngineError
from udfs.engines.endpoints import NO_KEY, is_loopback, probe_endpoint, read_key, url_problem
from udfs.engines.teacher_process import Teacher

KEY = "sk-secret-123"
CLOSED = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    "url",
    ["https://api.example.com/v1", "http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:80/v1",
     "http://10.1.2.3:8000/v1", "http://vllm:8000/v1", "http://vllm.team.svc.cluster.local/v1"],
)  # fmt: skip
def test_https_and_private_networks_are_allowed(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://api.example.com/v1", "unencrypted"),
        ("http://8.8.8.8/v1", "unencrypted"),
        ("ftp://localhost/v1", "not an address like"),
        ("localhost:8000", "not an address like"),
        ("https://me:word@api.example.com/v1", "holds a user or password"),
        ("http://[::1/v1", "not an address"),
    ],
)
def test_other_addresses_are_refused_in_words(url: str, words: str) -> None:
    problem = url_problem(url) or ""
    assert words in problem
    assert "word@" not in problem


def test_only_this_machine_is_loopback() -> None:
    assert [is_loopback(url) for url in ("http://localhost/v1", "http://127.9.9.9/v1", "http://10.0.0.1/v1")] == [
        True,
        True,
        False,
    ]


def test_the_key_comes_from_the_environment_or_is_a_placeholder_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOOSTQA_TEST_KEY", raising=False)
    assert read_key(spec_for(CLOSED)) == NO_KEY
    with pytest.raises(FatalEngineError, match="BOOSTQA_TEST_KEY is not set"):
        read_key(spec_for(CLOSED, "https://api.example.com/v1"))
    monkeypatch.setenv("BOOSTQA_TEST_KEY", f" {KEY}\n")
    assert read_key(spec_for("https://api.example.com/v1")) == KEY
    monkeypatch.setenv("BOOSTQA_TEST_KEY", "two words")
    with pytest.raises(FatalEngineError, match="BOOSTQA_TEST_KEY") as caught:
        read_key(spec_for(CLOSED))
    assert "two words" not in str(caught.value)


def test_a_working_endpoint_has_no_problem(teacher: Teacher) -> None:
    before = teacher.stats()["requests"]
    assert probe_endpoint(spec_for(teacher.base_url), "stand-in") is None
    assert teacher.stats()["requests"] == before


def test_a_wrong_model_is_named_with_what_is_served(teacher: Teacher) -> None:
    problem = probe_endpoint(spec_for(teacher.base_url), "gpt-9") or ""
    assert "does not serve model 'gpt-9'; it serves: stand-in" in problem


def test_a_wrong_key_is_told_without_the_key(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOSTQA_TEST_KEY", KEY)
    teacher.set_faults(key="another")
    problem = probe_endpoint(spec_for(teacher.base_url), "stand-in") or ""
    assert "refuses the key in BOOSTQA_TEST_KEY (HTTP 401" in problem
    assert KEY not in problem


def test_where_batches_are_wanted_the_batch_api_must_be_there(
    teacher: Teacher, scripted: Callable[[Script], ScriptedServer]
) -> None:
    assert probe_endpoint(batch_spec(teacher.base_url, "folder"), "stand-in") is None

    server = scripted(lambda body, number: (200, {"data": [{"id": "m"}]}))
    server.missing = "/batches"
    problem = probe_endpoint(batch_spec(server.url, "folder"), "m") or ""
    assert problem == f"{server.url} has no Batch API (HTTP 404); set llm.batch to false"
    assert probe_endpoint(spec_for(server.url), "m") is None


def test_an_unreachable_host_is_one_line(teacher: Teacher) -> None:
    problem = probe_endpoint(spec_for(teacher.base_url, CLOSED), "stand-in") or ""
    assert problem.startswith(f"{CLOSED} does not answer: cannot connect")
    assert "\n" not in problem


def test_no_address_at_all_is_a_problem() -> None:
    assert "llm.base_urls is empty" in (probe_endpoint(spec_for(), "m") or "")


@pytest.mark.parametrize(
    ("status", "reply", "words"),
    [
        (404, {}, None),
        (500, {"error": {"message": "down"}}, "answers HTTP 500: down"),
        (200, b"<html>", None),
        (200, {"data": [{"id": f"m{n}"} for n in range(9)]}, "m4 and 4 more"),
    ],
)
def test_gateways_answer_in_their_own_ways(
    scripted: Callable[[Script], ScriptedServer], status: int, reply: object, words: str | None
) -> None:
    problem = probe_endpoint(spec_for(scripted(lambda body, number: (status, reply)).url), "model")
    assert problem is None if words is None else words in (problem or "")
