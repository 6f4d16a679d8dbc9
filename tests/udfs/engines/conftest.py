"""A stand-in teacher for the session, and scripted servers for single tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.udfs.engines.helpers import Script, ScriptedServer


@pytest.fixture
def scripted() -> Iterator[Callable[[Script], ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(script: Script) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
