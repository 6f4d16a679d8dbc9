"""The stand-in's server over its real wire, and its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from udfs.engines.teacher import completion, count_tokens, orphan_watch, parse_arguments
from udfs.engines.teacher_faults import Faults
from udfs.engines.teacher_process import Teacher, start_teacher

ROOT = Path(__file__).resolve().parents[3]
HELLO = {"model": "stand-in", "messages": [{"role": "user", "content": "hello"}]}


def call(url: str, body: object = None) -> tuple[int, dict[str, Any]]:
    raw = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=raw, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_names_itself_everywhere(teacher: Teacher) -> None:
    assert call(f"{teacher.base_url}/models")[1]["data"][0]["id"] == "stand-in"
    assert call(teacher.base_url.replace("/v1", "/health"))[1]["model"] == "stand-in"
    status, reply = call(f"{teacher.base_url}/chat/completions", HELLO)
    assert (status, reply["model"], reply["choices"][0]["finish_reason"]) == (200, "stand-in", "stop")
    assert "placeholder" in reply["choices"][0]["message"]["content"]
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"] > 0


def test_it_counts_requests_and_different_bodies(teacher: Teacher) -> None:
    before = teacher.stats()
    for number in (1, 2, 2):
        call(f"{teacher.base_url}/chat/completions", {**HELLO, "seed": number})
    after = teacher.stats()
    assert after["requests"] - before["requests"] == 3
    assert after["unique"] - before["unique"] == 2
    assert after["in_flight"] == 0
    assert after["peak_in_flight"] >= 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**HELLO, "model": "gpt-9"}, 404, "model_not_found"),
        (b"not json", 400, "invalid_request"),
        ({"model": "stand-in"}, 400, "invalid_request"),
        ([], 400, "invalid_request"),
    ],
)
def test_wrong_requests_are_refused_as_openai_does(teacher: Teacher, body: object, status: int, code: str) -> None:
    got, reply = call(f"{teacher.base_url}/chat/completions", body)
    assert (got, reply["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("fault", "status"), [("error_500", 500), ("error_429", 429), ("garbage", 200), ("empty", 200), ("wrong_schema", 200)]
)  # fmt: skip
def test_faults_are_switched_while_it_runs(teacher: Teacher, fault: str, status: int) -> None:
    teacher.set_faults(**{fault: 1.0})
    assert call(f"{teacher.base_url}/chat/completions", HELLO)[0] == status
    teacher.set_faults(**{fault: 0.0})
    assert call(f"{teacher.base_url}/chat/completions", HELLO)[0] == 200


def test_an_unknown_fault_is_refused(teacher: Teacher) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        teacher.set_faults(explode=1)


def test_answers_are_cut_at_max_tokens_and_by_the_fault() -> None:
    full = completion(HELLO, "")["choices"][0]["message"]["content"]
    for reply in (completion(HELLO, "cut"), completion({**HELLO, "max_tokens": 4}, "")):
        choice = reply["choices"][0]
        assert choice["finish_reason"] == "length"
        assert full.startswith(choice["message"]["content"])
        assert len(choice["message"]["content"]) < len(full)


def test_tokens_are_counted_by_bytes() -> None:
    assert [count_tokens(text) for text in ("", "a", "word", "words", "光合作用")] == [0, 1, 1, 2, 3]


def test_every_fault_is_a_flag() -> None:
    parsed = parse_arguments(["--port", "0", "--error-500", "0.5", "--no-response-format", "--seed", "3"])
    assert (parsed.error_500, parsed.no_response_format, parsed.seed, parsed.hang_s) == (0.5, True, 3, 60.0)


def test_it_starts_with_faults_and_stops_twice() -> None:
    with start_teacher(Faults(error_500=1.0, no_response_format=True)) as teacher:
        assert call(f"{teacher.base_url}/chat/completions", HELLO)[0] == 500
        teacher.stop()
    assert teacher.process.poll() is not None


def test_a_taken_port_is_told(teacher: Teacher) -> None:
    port = int(teacher.base_url.split(":")[2].removesuffix("/v1"))
    with pytest.raises(RuntimeError, match=r"did not start(.|\n)*address already in use"):
        start_teacher(port=port)


def test_a_watch_tells_when_a_process_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = orphan_watch(child.pid)
    assert not gone()
    child.communicate(b"\n")
    assert gone()
    assert not orphan_watch(os.getppid())()


def test_it_dies_with_its_parent() -> None:
    code = "import os; from udfs.engines.teacher_process import start_teacher as s; print(s().process.pid, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    orphan = int(done.stdout)
    deadline = time.monotonic() + 30
    while _runs(orphan):
        assert time.monotonic() < deadline, "the teacher outlived its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
