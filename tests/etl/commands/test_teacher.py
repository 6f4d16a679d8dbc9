from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.commands.teacher import free_port
from etl.errors import UserError
from tests.etl.tiny import take_interrupts
from udfs.engines.endpoints import probe_endpoint
from udfs.engines.protocol import EngineSpec

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "etl", "teacher", "--port", "0", "--key", "right"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=take_interrupts
    )
    yield process
    process.kill()
    process.wait()


def test_it_serves_says_how_to_use_it_and_ends_with_ctrl_c(
    server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.stdout is not None
    told: list[str] = []
    for line in server.stdout:
        told.append(line)
        if "listens at" in line:
            break
    url = told[-1].partition("listens at ")[2].split(";")[0]
    command = "OPENAI_API_KEY=right boostqa run --conf conf/local.yaml --set tables.warehouse=warehouse-teacher "
    assert command + f"--set llm.endpoint=urls --set 'llm.base_urls=[{url}]'" in "".join(told)
    assert "--set 'llm.models={teacher: stand-in, refiner: stand-in, " in "".join(told)
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    assert probe_endpoint(EngineSpec(base_urls=(url,)), "stand-in") is None
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    assert "refuses the key" in (probe_endpoint(EngineSpec(base_urls=(url,)), "stand-in") or "")
    server.send_signal(signal.SIGINT)
    assert server.wait(20) == 0
    assert "Traceback" not in server.stdout.read()


def test_a_taken_port_is_named() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} can not be used"):
            free_port(port)
