"""What is shown of long work: the sum of its tasks while it goes on, and nothing left behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from etl.progress import Watch, words
from udfs.progress import TaskProgress, trouble_figures

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


def test_the_last_figures_are_recorded(tmp_path: Path) -> None:
    recorded: list[tuple[str, dict[str, float]]] = []
    watch = Watch(str(tmp_path), lambda *shown: None, record=lambda what, figures: recorded.append((what, {**figures})))
    with watch.over("asking", 10) as folder:
        TaskProgress(folder, every_s=0).add(done=4, cost=0.5)
        TaskProgress(folder, every_s=0).add(done=6, cost=0.25)
    assert recorded == [("asking", {"done": 10, "cost": 0.75})]


def test_work_that_ends_early_says_so(tmp_path: Path) -> None:
    shown: Shown = []
    said: list[str] = []
    watch = Watch(str(tmp_path), lambda *line: shown.append(line), said.append, poll_s=0.01)
    with watch.over("asking", 10) as folder:
        TaskProgress(folder, every_s=0).add(done=4)
        watch.stopping("Ctrl-C: nothing more is asked")
        shown.clear()
        until(shown)
    assert said == ["Ctrl-C: nothing more is asked"]
    assert shown[-1][0] == "stopping: asking"


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


def test_the_state_of_a_wave_is_told_in_one_line() -> None:
    assert words("asking", {"done": 5}, 10, 2.0) == "asking"
    figures = {"done": 5, "failed": 2, "cost": 1234.5, "tokens": 9000, "in_flight": 32}
    figures |= trouble_figures({"HTTP 500": 3, "HTTP 429": 40})
    assert words("asking", figures, 10, 2.0) == (
        "asking, 32 in flight, 4,500 tokens/s, cost 1,234.50 of about 2,469.00, 2 failed, tried again: 40 HTTP 429, 3 HTTP 500"
    )
