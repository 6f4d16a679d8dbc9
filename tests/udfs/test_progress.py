"""The sum of what tasks say they have done, and that nothing hangs on it."""

from __future__ import annotations

from pathlib import Path

from udfs.progress import TaskProgress, read_progress


def test_the_figures_of_all_tasks_add_up(tmp_path: Path) -> None:
    first, second = TaskProgress(str(tmp_path), every_s=0), TaskProgress(str(tmp_path), every_s=0)
    first.add(done=3, cost=0.5)
    first.add(done=4, failed=1)
    second.add(done=10)
    assert read_progress(str(tmp_path)) == {"done": 17, "cost": 0.5, "failed": 1}


def test_a_file_is_not_written_at_every_step(tmp_path: Path) -> None:
    progress = TaskProgress(str(tmp_path), every_s=3600)
    progress.add(done=1)
    assert read_progress(str(tmp_path)) == {}


def test_nothing_is_no_progress(tmp_path: Path) -> None:
    assert read_progress(str(tmp_path / "nowhere")) == {}


def test_a_storage_that_takes_nothing_stops_no_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    TaskProgress(str(tmp_path / "file"), every_s=0).add(done=1)
