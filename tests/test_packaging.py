"""The wheel and its .zip copy: they hold what a run needs, nothing else, and work away from the checkout."""

from __future__ import annotations

import ast
import email
import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LITTER = shutil.ignore_patterns("__pycache__", ".*_cache", "*.pyc")
EXTRAS = {"local", "embed", "llm", "track", "vllm", "dev"}
# The files of the stand-in teacher, a server of its own.
TEACHER = {"udfs/engines/teacher.py", "udfs/engines/teacher_batches.py"}
PYTHONS = ("3.10", "3.11", "3.12")
BASE_YAML = "from importlib.resources import files; text = (files('etl') / 'conf' / 'base.yaml').read_text('utf-8')"


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=environment or None, capture_output=True, text=True, timeout=120)


def pip(*arguments: str, cwd: Path) -> None:
    done = run(sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    source = tmp_path_factory.mktemp("source")
    for folder in ("etl", "udfs", "conf"):
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=LITTER)
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("dist")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), ".", cwd=source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def archive(wheel: Path) -> Path:
    """The .zip copy that `make wheel` makes: Spark puts a .zip on the path of its executors, and no .whl."""
    return Path(shutil.copy(wheel, wheel.with_suffix(".zip")))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the wheel was installed."""
    target = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=target)
    return target


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [n for n in opened.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(opened.read(name))


def requirements(metadata: Message) -> list[Requirement]:
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    """A new folder without __init__.py, or a new kind of data file that setup.py does not list, fails here."""
    packages = [ROOT / "etl", ROOT / "udfs"]
    files = {f for package in packages for f in package.rglob("*") if f.is_file()} | set((ROOT / "conf").glob("*.yaml"))
    in_project = {f.relative_to(ROOT).as_posix() for f in files if not re.search(r"__pycache__|_cache/", f.as_posix())}
    wanted = {re.sub("^conf/", "etl/conf/", name) for name in in_project}
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert held == wanted
    assert "etl/conf/base.yaml" in held
    assert any(name.startswith("udfs/prompts/") for name in held)


@pytest.mark.parametrize("place", ["checkout", "installed", "archive"])
def test_packaged_files_are_read_wherever_the_package_lies(
    place: str, installed: Path, archive: Path, tmp_path: Path
) -> None:
    root = {"checkout": ROOT, "installed": installed, "archive": archive}[place]
    code = f"import sys; sys.path.insert(0, {str(root)!r}); {BASE_YAML}; import etl; print(etl.__file__); print(text)"
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    where, _, text = done.stdout.partition("\n")
    assert where.startswith(str(root)), done.stderr
    assert text.strip() == (ROOT / "conf" / "base.yaml").read_text(encoding="utf-8").strip()


def test_the_command_line_imports_from_the_archive_and_loads_nothing_heavy(archive: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r}); import etl.cli; assert callable(etl.cli.main);"
        "print(etl.cli.__file__); print(*{m.partition('.')[0] for m in sys.modules})"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    where, loaded = done.stdout.splitlines()
    assert where.startswith(str(archive))
    heavy = {"torch", "sentence_transformers", "faiss", "mlflow", "openai", "trafilatura", "vllm"}
    assert heavy & set(loaded.split()) == set()


def test_the_script_runs_as_spark_submit_starts_it(installed: Path, archive: Path, tmp_path: Path) -> None:
    """Spark runs etl/__main__.py by its path, with the .zip on the path and etl/ itself in front of everything."""
    script = installed / "etl" / "__main__.py"
    done = run(sys.executable, str(script), "--help", cwd=tmp_path, PYTHONPATH=str(archive))
    assert done.returncode == 0, done.stderr
    assert "boostqa" in done.stdout


def test_the_metadata_says_what_setup_promises(metadata: Message) -> None:
    version = re.search(r'__version__ = "(.+)"', (ROOT / "etl" / "version.py").read_text(encoding="utf-8"))
    assert version is not None
    assert (metadata["Name"], metadata["Version"]) == ("boostqa", version.group(1))
    assert set(metadata["Requires-Python"].split(",")) == {">=3.10", "<3.13"}
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_console_command_is_etl_cli_main(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [n for n in opened.namelist() if n.endswith("entry_points.txt")]
        assert "boostqa = etl.cli:main" in opened.read(name).decode()


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_once_and_in_range(metadata: Message, python: str) -> None:
    pins: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate({"python_version": python}):
                pins.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier).removeprefix("=="))
    assert [name for name, versions in pins.items() if len(versions) > 1] == []
    for wanted in requirements(metadata):
        name = canonicalize_name(wanted.name)
        if name != "vllm":
            assert name in pins, f"constraints.txt does not pin {name} for Python {python}"
            assert wanted.specifier.contains(pins[name][0]), f"{name}=={pins[name][0]} is not {wanted.specifier}"


def third_party(node: ast.AST) -> set[str]:
    """Names the distributions that an import statement takes from, without the project and the standard library."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        names = [node.module or ""]
    tops = {name.partition(".")[0] for name in names} - {"etl", "udfs", *sys.stdlib_module_names}
    renamed = {"yaml": "pyyaml", "faiss": "faiss-cpu", "delta": "delta-spark"}
    return {canonicalize_name(renamed.get(top, top)) for top in tops}


def test_every_import_is_declared_and_what_loads_at_once_is_in_the_base(metadata: Message) -> None:
    """Extras are imported inside functions. But etl may count on pyspark, and the teacher is a server of its own."""
    declared = {canonicalize_name(r.name) for r in requirements(metadata)}
    base = {canonicalize_name(r.name) for r in requirements(metadata) if r.marker is None}
    wrong = []
    for path in [*(ROOT / "etl").rglob("*.py"), *(ROOT / "udfs").rglob("*.py")]:
        where = path.relative_to(ROOT).as_posix()
        allowed = {"udfs/register.py": {"pyspark"}}.get(where, {"aiohttp"} if where in TEACHER else set())
        allowed |= {"pyspark"} if where.startswith("etl/") else set()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        wrong += [f"{where}: {name} is not in setup.py" for n in ast.walk(tree) for name in third_party(n) - declared]
        wrong += [f"{where}: {name} at import time" for n in tree.body for name in third_party(n) - base - allowed]
    assert wrong == []
