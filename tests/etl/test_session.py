"""What is found out before Spark is started: which Java there is, which Delta fits, and what a start says when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etl.errors import UserError
from etl.session import delta_package, java_problem, quiet_stderr


def put_java(folder: Path, said: str) -> Path:
    """A program `java` that says of itself what a Java does, on stderr."""
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\n", "utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "said",
    [
        'openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)',
        'openjdk version "21" 2023-09-19',
        'java version "21-ea"',
        'Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "17.0.1"',
    ],
)
def test_java_17_and_21_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    put_java(tmp_path, said)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_problem() is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('java version "1.8.0_392"', "Java 8."),
        ('openjdk version "11.0.22"', "Java 11."),
        ('openjdk version "25" 2025-09-16', "Java 25."),
        ("Unable to locate a Java Runtime.", "Java of an unknown version."),
        ("", "Java of an unknown version."),
    ],
)
def test_another_java_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, words: str
) -> None:
    java = put_java(tmp_path, said)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    problem = java_problem() or ""
    assert problem.startswith(f"{java} is {words} Spark needs Java 17 or 21")
    assert "JAVA_HOME" in problem


def test_without_java_home_it_is_the_java_of_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = put_java(tmp_path, 'openjdk version "11.0.22"')
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{java.parent}{os.pathsep}{os.environ['PATH']}")
    assert (java_problem() or "").startswith("java is Java 11.")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (java_problem() or "").startswith("there is no Java at java.")


@pytest.mark.parametrize(
    ("delta", "spark", "package"),
    [
        ("4.0.1", "4.0.1", "io.delta:delta-spark_2.13:4.0.1"),
        ("4.1.0", "4.0.1", "io.delta:delta-spark_4.0_2.13:4.1.0"),
        ("4.10.2", "4.1.0.dev3", "io.delta:delta-spark_4.1_2.13:4.10.2"),
    ],
)
def test_the_package_follows_from_the_installed_delta_and_the_running_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delta: str, spark: str, package: str
) -> None:
    installed = tmp_path / f"delta_spark-{delta}.dist-info" / "METADATA"
    installed.parent.mkdir()
    installed.write_text(f"Metadata-Version: 2.1\nName: delta-spark\nVersion: {delta}\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert delta_package(spark) == package


def test_without_delta_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match=r"delta-spark is not installed: pip install 'boostqa\[local\]'"):
        delta_package("4.0.1")


def child_says(words: str) -> None:
    subprocess.run([sys.executable, "-c", f"import os; os.write(2, {words.encode()!r})"], check=True)


def test_what_a_start_prints_is_not_shown_when_it_succeeds(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr("Spark could not be started"):
        child_says("WARN: noise\n")
    child_says("and after it\n")
    assert capfd.readouterr().err == "and after it\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [("WARN: noise\nno space left\n\n", "no space left"), ("", "it died"), ("\udcff bad", "\ufffd bad")],
)
def test_when_it_fails_the_last_line_is_the_users_error(
    words: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def start() -> None:
        with quiet_stderr("Spark could not be started"):
            os.write(2, words.encode("utf-8", "surrogateescape"))
            raise OSError("it died")

    with pytest.raises(UserError, match=f"^Spark could not be started: {line}$"):
        start()
    child_says("and after it\n")
    assert capfd.readouterr().err == "and after it\n"
