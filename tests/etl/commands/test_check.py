"""`boostqa check`: a line for every check, and one for every problem."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from etl.cli import main
from udfs.engines.teacher_process import Teacher

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def checked(capsys: pytest.CaptureFixture[str], *sets: str) -> tuple[int, list[str]]:
    code = main(["check", "--conf", "conf/local.yaml", *[part for text in sets for part in ("--set", text)]])
    return code, capsys.readouterr().out.splitlines()


@pytest.mark.long
def test_a_good_setup_is_ok_on_every_line(
    spark: SparkSession, teacher: Teacher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse = tmp_path / "w"
    before = teacher.stats()["requests"]
    code, lines = checked(
        capsys, f"tables.warehouse={warehouse}", "llm.endpoint=urls", f"llm.base_urls=[{teacher.base_url}]"
    )
    assert code == 0
    assert all(line.startswith("ok ") for line in lines)
    said = "\n".join(lines)
    for words in (
        "43 files in 20 sources",
        "executors write there too",
        "serves stand-in, reached from driver",
        "384 dimensions",
    ):
        assert words in said
    # What it wrote to try the storage is gone again.
    assert [path for path in warehouse.rglob("*") if path.is_file()] == []
    assert teacher.stats()["requests"] == before


@pytest.mark.long
def test_every_problem_is_a_line_of_its_own(
    spark: SparkSession, teacher: Teacher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    code, lines = checked(
        capsys,
        f"tables.warehouse={tmp_path}/file",
        "sources=[{name: a, path: no/where, license: X}]",
        "llm={endpoint: urls, base_urls: ['http://127.0.0.1:9/v1']}",
        "embed.model=./no-such-model",
    )
    assert code == 2
    problems = {line.split()[1] for line in lines if line.startswith("PROBLEM")}
    assert problems == {"inputs", "sources", "storage", "endpoint", "model"}
    assert not any("Traceback" in line for line in lines)
