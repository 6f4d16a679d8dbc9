"""The stand-in teacher as a process: it gets its settings, starts from anywhere, and leaves nothing behind."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from udfs.engines.teacher_faults import Faults
from udfs.engines.teacher_process import Teacher, start_teacher

DEAD_PROXY = "http://127.0.0.1:9"


def settings_of(teacher: Teacher) -> dict[str, Any]:
    """The server's settings, by a change of none."""
    address = teacher.base_url.replace("/v1", "/faults")
    with urlopen(Request(address, data=b"{}", headers={"Content-Type": "application/json"}), timeout=20) as reply:
        told: dict[str, Any] = json.load(reply)
    return told


def test_every_setting_arrives_in_the_process() -> None:
    faults = Faults(cut=0.25, retry_after_s=2.5, max_context=99, no_response_format=True, key="k", seed=7)
    with start_teacher(faults) as teacher:
        told = settings_of(teacher)
        assert teacher.stats()["requests"] == 0
    assert told == {
        **{name: getattr(Faults(), name) for name in Faults.__dataclass_fields__},
        "cut": 0.25,
        "retry_after_s": 2.5,
        "max_context": 99,
        "no_response_format": True,
        "key": True,
        "seed": 7,
    }


def test_a_change_leaves_the_other_settings(teacher: Teacher) -> None:
    teacher.set_faults(error_429=0.5, retry_after_s=3.0)
    teacher.set_faults(error_429=0.0)
    told = settings_of(teacher)
    assert (told["error_429"], told["retry_after_s"]) == (0.0, 3.0)


def test_it_starts_from_any_folder_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    for folder in (work, temporary):
        folder.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with start_teacher() as teacher:
        assert teacher.stats()["requests"] == 0
        assert list(tmp_path.rglob("*")) == [work, temporary]


def test_calls_to_this_machine_pass_no_proxy(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, DEAD_PROXY)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    teacher.set_faults(latency_s=0.0)
    assert teacher.stats()["in_flight"] == 0


def test_it_is_stopped_by_an_error_in_the_block_too() -> None:
    running = start_teacher()

    def fails() -> None:
        with running:
            raise LookupError("ours")

    with pytest.raises(LookupError, match="ours"):
        fails()
    assert running.process.poll() is not None
    with pytest.raises(OSError, match="refused"):
        running.stats()


def test_why_it_did_not_start_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"did not start: (.|\n)*port must be 0-65535"):
        start_teacher(port=99999)
    assert list(tmp_path.iterdir()) == []
