"""A stand-in teacher for the session, and scripted servers for single tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest

from tests.udfs.engines.helpers import Script, ScriptedServer
from udfs.engines.teacher_faults import Faults
from udfs.engines.teacher_process import Teacher, start_teacher


@pytest.fixture
def scripted() -> Iterator[Callable[[Script], ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(script: Script) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def teacher_process() -> Iterator[Teacher]:
    with start_teacher() as running:
        yield running


@pytest.fixture
def teacher(teacher_process: Teacher) -> Teacher:
    """The session's teacher without any faults left over from the test before."""
    teacher_process.set_faults(**asdict(Faults()))
    return teacher_process
