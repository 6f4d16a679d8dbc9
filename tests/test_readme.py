"""Every command and query of the README is run, as it stands there.

`boostqa` lines run in this process, on the Spark session of the tests: those of conf/local.yaml on the warehouse of the session's sample run (which
is what `make demo` runs), those of my.yaml from the real profile with the stand-in teacher in the place of the hosted endpoint. `make` lines are
run dry, as a whole test run inside a test would not end.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from etl.cli import main
from etl.config import load_config
from udfs.engines.teacher_rules import MODEL

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.conftest import SampleRun
    from udfs.engines.teacher_process import Teacher

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line and not line.startswith("#")]
SAMPLE_COMMANDS = [line for line in COMMANDS if "conf/local.yaml" in line]
OWN_COMMANDS = [line for line in COMMANDS if "my.yaml" in line or line.startswith("export ")]


DATA_SET_COMMANDS = [line for line in COMMANDS if " --out out/" in line]


def test_every_command_is_run_by_a_test() -> None:
    others = [line for line in COMMANDS if line not in SAMPLE_COMMANDS + OWN_COMMANDS + DATA_SET_COMMANDS]
    assert others == ["make demo", "make test", "source .venv/bin/activate"]
    assert not re.findall(r"^```(?:sh|shell|console)?$\n\S", README.replace("```\n\n", "\n\n"), re.MULTILINE)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("target", "runs"), [("demo", "boostqa run --conf conf/local.yaml"), ("test", "-m pytest")])
def test_make_targets_run_what_the_readme_says(target: str, runs: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert runs in done.stdout


def test_sizes_are_those_that_make_demo_tells() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    told = re.findall(r"(\d[\d.]* [GM]B)", "".join(re.findall(r"^\t@echo '.*$", makefile, re.MULTILINE)))
    table = README[README.index("| what | download") : README.index("Then it prints")]
    assert told
    assert set(told) <= set(re.findall(r"\d[\d.]* [GM]B", table))


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_demo_output_is_of_this_version(sample_run: SampleRun) -> None:
    """Names and counts; seconds and ids differ from machine to machine."""
    (shown,) = [block for block in blocks("text") if "ingest" in block]
    steps = re.findall(r"^\[ ?\d+/\d+\] (\w+) +(\d+) in, (\d+) out", shown, re.MULTILINE)
    ran = [(row["step"], str(row["rows_in"]), str(row["rows_out"])) for row in sample_run.steps]
    assert steps == ran


@pytest.mark.parametrize("line", SAMPLE_COMMANDS)
def test_commands_on_the_samples(
    line: str,
    sample_run: SampleRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exported = sample_run.rows("mixture")[0]["item_id"]
    words = ["boostqa", *shlex.split(line.replace(" ID ", f" {exported} "))[1:]]
    assert line.startswith("boostqa ")
    words = [str(tmp_path / word) if word == "report.html" else word for word in words]
    assert main([*words[1:], "--set", f"tables.warehouse={sample_run.warehouse}"]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.long
@pytest.mark.parametrize("line", DATA_SET_COMMANDS)
def test_commands_on_a_data_set(
    line: str, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / word) if word.startswith("out/") else word for word in shlex.split(line)]
    assert main(words[1:]) == 0
    assert re.match(r"\d+ rows: \d+ (kept|measured), \d+ not", capsys.readouterr().out)
    assert list(tmp_path.glob("out/*/rows/part-*.parquet"))


@pytest.fixture
def own_folder(tmp_path: Path, teacher: Teacher) -> Path:
    """A folder with samples and profiles; conf/openai.yaml names the stand-in teacher as its endpoint."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    profile = tmp_path / "conf" / "openai.yaml"
    settings: dict[str, Any] = yaml.safe_load(profile.read_text("utf-8"))
    settings["llm"]["base_urls"] = [teacher.base_url]
    settings["llm"]["models"] = dict.fromkeys(settings["llm"]["models"], MODEL)
    profile.write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
    return tmp_path


@pytest.mark.long
def test_commands_on_ones_own_endpoint(
    own_folder: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(own_folder)
    monkeypatch.setenv("OPENAI_API_KEY", "")
    said: dict[str, str] = {}
    for line in OWN_COMMANDS:
        words = shlex.split(line)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            monkeypatch.setenv(name, value.replace("...", "test"))
        elif words[0] == "boostqa":
            assert main(words[1:]) == 0, capsys.readouterr()
            said[words[1]] = capsys.readouterr().out
        else:
            subprocess.run(words, check=True)
    assert list(said) == ["check", "plan", "run"]
    assert "PROBLEM" not in said["check"]
    config = load_config("my.yaml")
    calls = spark.read.format("delta").load(str(own_folder / config.tables.warehouse / "llm_calls"))
    asked = calls.count()
    assert 0 < asked <= (config.llm.budget.max_requests or 0)
    exported = spark.read.format("delta").load(str(own_folder / config.tables.warehouse / "mixture")).count()
    assert 10 <= exported <= 40, "a first dozen or two"
    assert not [path for path in own_folder.rglob("*") if "sk-test" in path.name]


def test_the_shown_profile_is_a_valid_part_of_one(tmp_path: Path) -> None:
    (shown,) = blocks("yaml")
    (tmp_path / "my.yaml").write_text(shown, "utf-8")
    config = load_config(str(tmp_path / "my.yaml"))
    assert config.sources[0].fields == {"text": "body", "id": "uid"}
    assert shlex.split("cp conf/openai.yaml my.yaml") == shlex.split(OWN_COMMANDS[0])


def test_queries(sample_run: SampleRun) -> None:
    (python,) = blocks("python")
    names: dict[str, Any] = {}
    # The JVM of the tests was started elsewhere: its relative paths are not those of a user's shell.
    exec(compile(python.replace('f"warehouse/', f'f"{sample_run.warehouse}/'), "README.md", "exec"), names)
    queries = blocks("sql")
    assert len(queries) == 2
    for query in queries:
        rows = names["spark"].sql(query).collect()
        assert rows, query
        assert all(None not in row for row in rows), query
