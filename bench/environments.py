"""Python environments for programs that a bench compares with: each made once, in `.bench-env/NAME`, from pinned packages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common import ROOT

FOLDER = ROOT / ".bench-env"
INSTALL_LIMIT_S = 1200
# What its MinHash imports; its index of embeddings and its Spark form ask for much more, so it comes without what it depends on.
TEXT_DEDUP_NEEDS = (
    "datasets==2.21.0",
    "numpy==1.26.4",
    "pyarrow==17.0.0",
    "scipy==1.14.1",
    "click==8.1.7",
    "click-option-group==0.5.6",
    "xxhash==3.5.0",
    "rich==13.9.4",
    "tqdm==4.67.1",
)
TEXT_DEDUP = ("text-dedup==0.4.0",)
SEMHASH = ("semhash==0.5.0", "numpy==2.2.6", "pyarrow==25.0.1")


class NotInstalledError(RuntimeError):
    """An environment could not be made; the message has pip's last words."""


def python_of(name: str, packages: Sequence[str], bare: Sequence[str] = ()) -> Path:
    """Returns the interpreter of environment `name`, which is made anew when other packages are asked for. Raises NotInstalledError.

    Of `bare`, what they depend on is not installed: `packages` has what is needed.
    """
    home = FOLDER / name
    stamp, python = home / "installed.txt", home / "bin" / "python"
    wanted = "\n".join([*packages, *bare]) + "\n"
    if python.exists() and stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return python
    print(f"making .bench-env/{name}: {' '.join([*packages, *bare])}", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(home)])
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input"]
    _run([*install, *packages])
    if bare:
        _run([*install, "--no-deps", *bare])
    stamp.write_text(wanted, encoding="utf-8")
    return python


def versions_in(name: str, packages: Sequence[str]) -> dict[str, str]:
    """Returns the versions of those packages that the environment has."""
    listed = subprocess.run(
        [str(FOLDER / name / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "list", "--format=json"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(listed.stdout) if listed.returncode == 0 else []
    return {each["name"]: each["version"] for each in found if each["name"].lower() in packages}


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"not installed within {INSTALL_LIMIT_S} s") from None
    if done.returncode:
        raise NotInstalledError(" ".join(done.stderr.split())[-300:])
