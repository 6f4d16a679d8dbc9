"""The driver's side of the shared places, with real files and tasks that are only reports."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from etl import places
from etl.places import shared_places
from udfs.places import GRANT, REPORT, Report


def tell(folder: Path, task: str, report: Report) -> None:
    folder.mkdir(exist_ok=True)
    draft = folder / f"{task}.part"
    draft.write_text(json.dumps(asdict(report)), "utf-8")
    draft.rename(folder / f"{task}{REPORT}")


def granted(folder: Path, task: str) -> int:
    path = folder / f"{task}{GRANT}"
    return int(json.loads(path.read_text("utf-8"))["places"]) if path.is_file() else 0


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lone_task_has_all_and_gives_half_to_a_second_only_when_it_says_so(tmp_path: Path) -> None:
    with shared_places(str(tmp_path), 8, threading.Event()):
        tell(tmp_path, "0-a", Report(grant=0, held=0, need=99, beat=1))
        until(lambda: granted(tmp_path, "0-a") == 8)
        tell(tmp_path, "0-a", Report(grant=1, held=8, need=99, beat=2))
        tell(tmp_path, "1-b", Report(grant=0, held=0, need=99, beat=1))
        until(lambda: granted(tmp_path, "0-a") == 4)
        time.sleep(0.6)
        assert granted(tmp_path, "1-b") == 0, "the first still has eight requests out"
        tell(tmp_path, "0-a", Report(grant=2, held=5, need=99, beat=3))
        until(lambda: granted(tmp_path, "1-b") == 3)
        tell(tmp_path, "0-a", Report(grant=2, held=0, need=0, beat=4, done=True))
        until(lambda: granted(tmp_path, "1-b") == 8)
    assert list(tmp_path.iterdir()) == []


def test_a_grant_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    in_the_way = tmp_path / f"0-a{GRANT}"
    in_the_way.mkdir()
    with shared_places(str(tmp_path), 6, threading.Event()):
        tell(tmp_path, "0-a", Report(grant=0, held=0, need=99, beat=1))
        time.sleep(1.0)
        in_the_way.rmdir()
        until(lambda: granted(tmp_path, "0-a") == 6)


def test_the_places_of_a_dead_task_go_to_the_one_that_spark_starts_in_its_place(tmp_path: Path) -> None:
    with shared_places(str(tmp_path), 6, threading.Event()):
        tell(tmp_path, "0-a", Report(grant=0, held=0, need=99, beat=1))
        until(lambda: granted(tmp_path, "0-a") == 6)
        tell(tmp_path, "0-again", Report(grant=0, held=0, need=99, beat=1))
        started = time.monotonic()
        beat = 1
        while granted(tmp_path, "0-again") < 6:
            assert time.monotonic() < started + 10
            beat += 1
            tell(tmp_path, "0-again", Report(grant=0, held=0, need=99, beat=beat))
            time.sleep(0.05)
        assert time.monotonic() - started >= places.REPLACED_S - 0.5


def test_the_second_task_of_a_partition_waits_for_the_first(tmp_path: Path) -> None:
    with shared_places(str(tmp_path), 6, threading.Event()):
        tell(tmp_path, "0-a", Report(grant=0, held=0, need=99, beat=1))
        until(lambda: granted(tmp_path, "0-a") == 6)
        tell(tmp_path, "0-speculated", Report(grant=0, held=0, need=99, beat=1))
        for beat in range(2, 12):
            tell(tmp_path, "0-a", Report(grant=1, held=6, need=99, beat=beat))
            time.sleep(0.1)
        assert (granted(tmp_path, "0-a"), granted(tmp_path, "0-speculated")) == (6, 0)
        tell(tmp_path, "0-a", Report(grant=1, held=0, need=0, beat=12, done=True))
        until(lambda: granted(tmp_path, "0-speculated") == 6)


def test_every_task_is_told_to_stop_also_one_that_begins_later(tmp_path: Path) -> None:
    stop = threading.Event()
    with shared_places(str(tmp_path), 6, stop):
        tell(tmp_path, "0-a", Report(grant=0, held=0, need=99, beat=1))
        until(lambda: granted(tmp_path, "0-a") == 6)
        assert not told_to_stop(tmp_path, "0-a")
        stop.set()
        until(lambda: told_to_stop(tmp_path, "0-a"))
        tell(tmp_path, "1-b", Report(grant=0, held=0, need=99, beat=1))
        until(lambda: told_to_stop(tmp_path, "1-b"))


def told_to_stop(folder: Path, task: str) -> bool:
    path = folder / f"{task}{GRANT}"
    return path.exists() and bool(json.loads(path.read_text("utf-8"))["stop"])
