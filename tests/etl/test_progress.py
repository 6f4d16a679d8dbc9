"""What is shown of long work: the sum of its tasks while it goes on, and nothing left behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from etl.progress import Watch, words
from udfs.progress import TaskProgress

Shown = list[tuple[str, int, int]]


def until(shown: Shown) -> None:
    deadline = time.monotonic() + 20
    while not shown:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_sum_is_shown_while_the_work_goes_on(tmp_path: Path) -> None:
    shown: Shown = []
    watch = Watch(str(tmp_path), lambda what, done, total: shown.append((what, done, total)), poll_s=0.01)
    with watch.over("asking", 10) as folder:
        TaskProgress(folder, every_s=0).add(done=4, failed=1)
        TaskProgress(folder, every_s=0).add(done=3)
        shown.clear()
        until(shown)
    assert shown[-1] == ("asking, 1 failed", 7, 10)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_work_that_was_begun_twice_is_never_over_the_whole(tmp_path: Path) -> None:
    shown: Shown = []
    watch = Watch(str(tmp_path), lambda what, done, total: shown.append((what, done, total)), poll_s=0.01)
    with watch.over("embedding", 10) as folder:
        TaskProgress(folder, every_s=0).add(done=14)
        until(shown)
    assert shown[0] == ("embedding", 10, 10)


def test_what_a_killed_run_left_is_not_counted(tmp_path: Path) -> None:
    TaskProgress(f"{tmp_path}/progress", every_s=0).add(done=99)
    with Watch(str(tmp_path), lambda *shown: None).over("embedding", 10) as folder:
        assert list(Path(folder).iterdir()) == []


def test_an_error_of_the_work_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Watch(str(tmp_path), lambda *shown: None).over("asking", 1):
        raise ZeroDivisionError


def test_money_and_failures_are_told_where_there_are_any() -> None:
    assert words("asking", {"done": 5}) == "asking"
    assert words("asking", {"done": 5, "failed": 2, "cost": 1234.5}) == "asking, 2 failed, cost 1,234.50"
