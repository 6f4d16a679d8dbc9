from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etl.cli import build_parser, main
from etl.pipeline import NAMES
from etl.version import __version__
from udfs.engines.teacher_process import Teacher

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ["--conf", "conf/local.yaml"]
DEAD_URL = "http://127.0.0.1:9/v1"


def one_line(argv: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Runs a command that must fail; returns its exit code and the one line it says."""
    try:
        code = main(argv)
    except SystemExit as stop:
        code = int(str(stop.code))
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    assert "Traceback" not in said.err
    return code, said.err.strip()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "plan"])
def test_each_step_is_a_command(name: str) -> None:
    args = build_parser().parse_args([name, *LOCAL, "--set", "run.seed=1", "--set", "run.name=x"])
    assert (args.steps, args.sets) == (name, ["run.seed=1", "run.name=x"])


def test_plan_is_the_dry_run_and_not_the_step() -> None:
    assert build_parser().parse_args(["plan", *LOCAL]).run.__module__ == "etl.commands.plan"


def test_the_help_names_every_command_and_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    told = capsys.readouterr().out
    for name in ("run", "plan", "check", "tables", "report", "trace", "doctor", "teacher", *NAMES):
        assert name in told


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run"], "--conf"),
        (["fly"], "'fly'"),
        (["run", "--conf", "nope.yaml"], "--conf nope.yaml: there is no such file"),
        (["run", *LOCAL, "--set", "dedup.treshold=1"], "dedup.treshold: is not a setting"),
        (["run", *LOCAL, "--set", "run.seed=soon"], "run.seed: Input should be a valid integer"),
        (["run", *LOCAL, "--set", "run.seed"], "--set run.seed: write it as"),
        (["run", *LOCAL, "--steps", "ingest,fly"], "there is no step 'fly'"),
        (["run", *LOCAL, "--from", "export", "--to", "ingest"], "--from export comes after --to ingest"),
        (["run", *LOCAL, "--set", "sources=[]"], "sources is empty"),
        (["run", *LOCAL, "--set", "sources=[{name: a, path: no/where, license: X}]"], "sources.a.path: no/where does not exist"),
        (["run", *LOCAL, "--set", "annotate.taxonomy=no.yaml"], "annotate.taxonomy: there is no file no.yaml"),
        (["run", *LOCAL, "--set", "ingest.tokenizer=./no.json"], "ingest.tokenizer: there is no file"),
        (["run", *LOCAL, "--set", "export.template=fancy"], "export.template: there is no template 'fancy'"),
        (["run", *LOCAL, "--set", "llm.endpoint=urls", "--set", f"llm.base_urls=[{DEAD_URL}]"], f"{DEAD_URL} does not answer"),
        (["tables", *LOCAL], "there are no tables in"),
        (["trace", "0" * 32, *LOCAL], "there are no tables in"),
        (["doctor", *LOCAL], "there are no tables in"),
        (["report", *LOCAL], "there are no tables in"),
        (["teacher", "--port", "99999"], "--port 99999 can not be used"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)  # fmt: skip
def test_what_the_user_got_wrong_is_one_line_and_writes_nothing(
    argv: list[str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    warehouse = tmp_path / "warehouse"
    place = ["--set", f"tables.warehouse={warehouse}"] if "--conf" in argv else []
    code, line = one_line([*argv, *place], capfd)
    assert code == 2
    assert line.startswith("boostqa: ")
    assert words in line
    assert not warehouse.exists()


def test_a_wrong_key_is_told_before_anything_is_written(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    teacher.set_faults(key="right")
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-secret")
    sets = [f"tables.warehouse={tmp_path / 'w'}", "llm.endpoint=urls", f"llm.base_urls=[{teacher.base_url}]"]
    code, line = one_line(["run", *LOCAL, *[part for text in sets for part in ("--set", text)]], capfd)
    assert code == 2
    assert "refuses the key in OPENAI_API_KEY" in line
    assert "wrong-secret" not in line
    assert not (tmp_path / "w").exists()


def test_a_model_that_is_not_served_is_named(
    teacher: Teacher, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sets = [
        f"tables.warehouse={tmp_path / 'w'}",
        "llm.endpoint=urls",
        f"llm.base_urls=[{teacher.base_url}]",
        "llm.models.refiner=gpt-9",
    ]
    code, line = one_line(["run", *LOCAL, *[part for text in sets for part in ("--set", text)]], capfd)
    assert (code, "does not serve model 'gpt-9'" in line) == (2, True)


def test_without_java_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    env = {**os.environ, "JAVA_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    sets = ["--set", f"tables.warehouse={tmp_path / 'w'}"]
    done = subprocess.run(
        [sys.executable, "-m", "etl", "run", *LOCAL, *sets], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"there is no Java at {tmp_path}/bin/java. Spark needs Java 17 or 21" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_names_the_command_that_goes_on_and_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            try:
                raise BrokenPipeError
            except BrokenPipeError:
                # py4j, when it can not end the connection on which it was waiting.
                logging.getLogger("py4j.clientserver").exception("while shutting down")
            raise

    monkeypatch.setattr("etl.commands.run.check_before", interrupted)
    argv = ["run", *LOCAL, "--set", "sources=[{name: a, path: b, license: c}]"]
    assert main(argv) == 130
    assert (
        "boostqa run --conf conf/local.yaml --set 'sources=[{name: a, path: b, license: c}]'" in capsys.readouterr().err
    )
    assert caplog.records == []


@pytest.mark.parametrize("how", [["-m", "etl"], [str(ROOT / "etl" / "__main__.py")]], ids=["module", "script"])
def test_the_module_and_the_script_are_the_same_command(how: list[str], tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *how, "--version"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, f"boostqa {__version__}")


def test_the_script_alone_takes_the_package_from_the_path(tmp_path: Path) -> None:
    """As spark-submit does with a copy of __main__.py and --py-files: the script's folder must not hide the package or other libraries."""
    (tmp_path / "etl").mkdir()
    script = shutil.copy(ROOT / "etl" / "__main__.py", tmp_path / "etl" / "__main__.py")
    (tmp_path / "etl" / "yaml.py").write_text("raise ImportError('the wrong yaml')", "utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script, "--version"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
