from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from etl.cli import main

if TYPE_CHECKING:
    from tests.conftest import SampleRun


def test_it_lists_rows_version_and_sql_name_of_every_table(
    sample_run: SampleRun, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["tables", "--conf", "conf/local.yaml", "--set", f"tables.warehouse={sample_run.warehouse}"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    for name in ("documents", "curation", "llm_calls", "qa", "mixture", "steps"):
        assert f"delta.`{sample_run.warehouse}/{name}`" in lines[name]
        assert f" {len(sample_run.rows(name)):,} " in lines[name]


@pytest.mark.long
def test_the_report_is_written_where_it_is_wanted(
    sample_run: SampleRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    out = tmp_path / "here.html"
    sets = ["--set", f"tables.warehouse={sample_run.warehouse}"]
    assert main(["report", "--conf", "conf/local.yaml", *sets, "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert "<html" in out.read_text("utf-8")
    assert (sample_run.warehouse / "report.html").is_file()
