"""One run at a time writes a warehouse; the lock of a run that is gone heals by itself."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import etl.lock
from etl.errors import UserError
from etl.lock import STALE_S, WarehouseLock, is_stale, started_at


def lock_file(folder: Path) -> Path:
    return folder / "lock.json"


def owner(**changes: Any) -> dict[str, Any]:
    alive = {"host": socket.gethostname(), "pid": 1, "started": started_at(1)}
    return {"run_id": "other", **alive, "beat": time.time(), **changes}


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_lock_is_there_during_a_run_and_gone_after_it(tmp_path: Path) -> None:
    with WarehouseLock(str(tmp_path), "mine"):
        assert json.loads(lock_file(tmp_path).read_bytes())["run_id"] == "mine"
    assert not lock_file(tmp_path).exists()


def test_a_failed_run_gives_its_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), WarehouseLock(str(tmp_path), "mine"):
        raise ZeroDivisionError
    assert not lock_file(tmp_path).exists()


def test_a_second_run_is_refused_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    with WarehouseLock(str(tmp_path), "first"):
        with pytest.raises(UserError) as refused, WarehouseLock(str(tmp_path), "second"):
            pass
        assert "first" in str(refused.value)
        assert str(lock_file(tmp_path)) in str(refused.value)
        assert "\n" not in str(refused.value)
        assert json.loads(lock_file(tmp_path).read_bytes())["run_id"] == "first"


def test_of_many_runs_that_start_at_once_one_gets_the_lock(tmp_path: Path) -> None:
    inside, refused = [], []
    start, done = threading.Barrier(8), threading.Event()

    def run(number: int) -> None:
        start.wait()
        try:
            with WarehouseLock(str(tmp_path), f"run-{number}"):
                inside.append(number)
                done.wait()
        except UserError:
            refused.append(number)
            if len(refused) == 7:
                done.set()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(inside), len(refused)) == (1, 7)


@pytest.mark.parametrize(
    "left", [{"pid": "dead"}, {"started": "earlier"}, {"host": "elsewhere", "beat": 0.0}, {"beat": None}], ids=str
)
def test_the_lock_of_a_run_that_is_gone_is_taken_over(tmp_path: Path, left: dict[str, Any]) -> None:
    if left.get("pid") == "dead":
        left = {"pid": dead_pid()}
    lock_file(tmp_path).write_text(json.dumps(owner(**left)))
    with WarehouseLock(str(tmp_path), "mine"):
        assert json.loads(lock_file(tmp_path).read_bytes())["run_id"] == "mine"


@pytest.mark.parametrize("content", [b"", b'{"run_id": "hal'])
def test_a_lock_file_that_was_cut_in_writing_heals(tmp_path: Path, content: bytes) -> None:
    lock_file(tmp_path).write_bytes(content)
    with WarehouseLock(str(tmp_path), "mine"):
        assert json.loads(lock_file(tmp_path).read_bytes())["run_id"] == "mine"


def test_a_living_run_on_another_machine_is_respected(tmp_path: Path) -> None:
    lock_file(tmp_path).write_text(json.dumps(owner(host="elsewhere", pid=dead_pid())))
    with pytest.raises(UserError, match="elsewhere"), WarehouseLock(str(tmp_path), "mine"):
        pass


def test_staleness_is_a_dead_process_or_on_another_host_an_old_beat() -> None:
    now = 1_000_000.0
    assert not is_stale(owner(beat=now), now)
    assert not is_stale(owner(beat=now - STALE_S * 99), now), "it sleeps, and will go on"
    assert is_stale(owner(beat=now, pid=dead_pid()), now)
    assert not is_stale(owner(beat=now - STALE_S / 2, host="elsewhere", pid=dead_pid()), now)
    assert is_stale(owner(beat=now - STALE_S * 2, host="elsewhere"), now)


def test_a_run_whose_lock_was_taken_over_stops_and_leaves_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etl.lock, "HEARTBEAT_S", 0.01)

    def until_it_is_seen(lock: WarehouseLock) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            lock_file(tmp_path).write_text(json.dumps(owner()))
            time.sleep(0.05)
            lock.check()

    with (
        pytest.raises(UserError, match="other has taken this warehouse over"),
        WarehouseLock(str(tmp_path), "mine") as lock,
    ):
        until_it_is_seen(lock)
    assert json.loads(lock_file(tmp_path).read_bytes())["run_id"] == "other"


def test_the_heartbeat_goes_on_while_the_lock_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etl.lock, "HEARTBEAT_S", 0.01)
    with WarehouseLock(str(tmp_path), "mine"):
        first = json.loads(lock_file(tmp_path).read_bytes())["beat"]
        deadline = time.monotonic() + 60
        while json.loads(lock_file(tmp_path).read_bytes())["beat"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
