"""The Makefile on machines that lack something: a folder of fake programs stands in for each machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TOOLS = ["sh", "make", "echo", "sed", "awk", "touch", "cp", "mkdir", "chmod"]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# Writes down how it was called; makes the virtual environment and the console script as far as make looks at them.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in
*"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
*" -e "*) printf '#!/bin/sh\\necho boostqa "$@"\\n' > .venv/bin/boostqa; chmod +x .venv/bin/boostqa ;;
esac
"""


class Machine:
    """A project folder with the Makefile, and a PATH with the basic tools and what a test adds."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.bin = folder / "bin"
        self.project.mkdir(parents=True)
        self.bin.mkdir()
        for name in ("Makefile", "setup.py", "constraints.txt"):
            shutil.copy(ROOT / name, self.project)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))

    def add(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)

    def add_java(self, version: str) -> None:
        self.add("java", f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")

    def make(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "LC_ALL": "C", **variables}
        return subprocess.run(
            ["make", *arguments], cwd=self.project, env=environment, capture_output=True, text=True, timeout=60
        )

    def calls(self) -> list[str]:
        log = self.project / "calls"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    """Returns the one line of a run that must fail with exactly one."""
    assert result.returncode != 0
    lines = (result.stdout + result.stderr).splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_make_alone_lists_every_target(machine: Machine) -> None:
    result = machine.make()
    targets = re.findall(r"^([a-z][a-z%-]*):(?!=)", MAKEFILE, re.MULTILINE)
    assert {"demo", "test", "check", "lint", "types", "wheel", "bench-%", "clean", "venv"} <= set(targets)
    assert re.findall(r"^  make (\S+) +\S", result.stdout, re.MULTILINE) == targets
    assert result.returncode == 0


@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_no_java_is_one_line_with_the_cure(machine: Machine, target: str) -> None:
    line = only_line(machine.make(target))
    assert "No Java at java" in line
    assert "apt-get install openjdk-17-jre-headless" in line


@pytest.mark.parametrize(("version", "named"), [("11.0.2", "11"), ("1.8.0_412", "8"), ("25", "25")])
def test_a_wrong_java_is_named(machine: Machine, version: str, named: str) -> None:
    machine.add_java(version)
    line = only_line(machine.make("demo"))
    assert f"java is version {named}. Spark needs Java 17 or 21" in line


@pytest.mark.parametrize("version", ["17.0.15", "21.0.2"])
def test_java_17_and_21_will_do(machine: Machine, version: str) -> None:
    machine.add_java(version)
    result = machine.make("java")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_java_home_comes_before_the_path(machine: Machine) -> None:
    machine.add_java("17.0.15")
    assert "No Java at /no/such/bin/java" in only_line(machine.make("demo", JAVA_HOME="/no/such"))
    home = machine.project / "jdk"
    (home / "bin").mkdir(parents=True)
    shutil.move(machine.bin / "java", home / "bin" / "java")
    assert machine.make("java", JAVA_HOME=str(home)).returncode == 0


def test_no_python_is_one_line_with_the_cure(machine: Machine) -> None:
    machine.add_java("17.0.15")
    machine.add("python3", "#!/bin/sh\nexit 1\n")
    assert "No Python 3.10, 3.11 or 3.12 found" in only_line(machine.make("demo"))
    machine.add("python3.12", FAKE_PYTHON)
    assert "No Python 3.10, 3.11 or 3.12 found" in only_line(machine.make("demo", "PYTHON=python3"))


def test_a_python_without_venv_is_one_line_with_the_cure(machine: Machine) -> None:
    machine.add_java("17.0.15")
    machine.add("python3", '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\n')
    line = only_line(machine.make("demo"))
    assert "python3 can not make virtual environments" in line
    assert "apt-get install python3-venv" in line


def test_a_path_with_a_space_is_one_line(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "two words")
    machine.add_java("17.0.15")
    assert "has a space" in only_line(machine.make("demo"))


def test_demo_says_what_it_downloads_then_installs_the_tested_versions_then_runs(machine: Machine) -> None:
    machine.add_java("17.0.15")
    machine.add("python3.11", FAKE_PYTHON)
    result = machine.make("demo", "PIP_FLAGS=--extra-index-url cpu")
    assert result.returncode == 0, result.stderr
    told = [result.stdout.index(text) for text in ("PyTorch with its CUDA", "[1/2]", "[2/2]", "boostqa run --conf")]
    assert told == sorted(told)
    assert result.stdout.splitlines()[-1] == "boostqa run --conf conf/local.yaml"
    installs = [call for call in machine.calls() if " install " in call]
    assert len(installs) == 3
    assert all("-c constraints.txt --extra-index-url cpu" in call for call in installs)
    assert installs[-1].endswith("-e .[local,embed,llm,track,dev]")


def test_a_second_demo_installs_nothing(machine: Machine) -> None:
    machine.add_java("17.0.15")
    machine.add("python3", FAKE_PYTHON)
    machine.make("demo")
    before = machine.calls()
    result = machine.make("-j4", "demo")
    assert result.stdout == "boostqa run --conf conf/local.yaml\n"
    assert machine.calls() == before


def test_the_newest_python_in_range_is_taken(machine: Machine) -> None:
    for name in ("python3", "python3.10", "python3.12"):
        machine.add(name, f"#!/bin/sh\necho {name} >> which\n" + FAKE_PYTHON.split("\n", 1)[1])
    machine.add("python3.12", "#!/bin/sh\nexit 1\n")  # there, but broken
    assert machine.make("venv").returncode == 0
    assert set((machine.project / "which").read_text(encoding="utf-8").split()) == {"python3.10"}


def test_check_runs_lint_types_and_tests(machine: Machine) -> None:
    machine.add_java("17.0.15")
    machine.add("python3", FAKE_PYTHON)
    machine.make("venv")
    planned = machine.make("-n", "check").stdout
    for command in ("ruff check .", "ruff format --check .", "bin/mypy", "-m pytest"):
        assert command in planned


def test_ci_runs_what_make_check_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, ".ci/run must be executable"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert script.read_text(encoding="utf-8").rstrip().endswith("exec make check")
