"""The rules that hold between modules, read from their syntax trees: nothing is imported or run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Module:
    """A source file by its path in the project, as `etl/steps/embed.py`."""

    path: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.path.split("/")[0]

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yields (line, absolute dotted name) of each import, also of those inside functions."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                parents = self.path.split("/")[: -node.level] if node.level else []
                base = ".".join([*parents, *([node.module] if node.module else [])])
                yield from ((node.lineno, f"{base}.{name.name}") for name in node.names)


Rule = Callable[[Module], Iterator[tuple[int, str]]]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def udfs_know_neither_spark_nor_etl(module: Module) -> Iterator[tuple[int, str]]:
    if module.package != "udfs":
        return
    banned = ["etl", "delta"] + ([] if module.path == "udfs/register.py" else ["pyspark"])
    for line, name in module.imports():
        if any(within(name, package) for package in banned):
            yield line, f"udfs must not import {name}"


def steps_do_not_import_each_other(module: Module) -> Iterator[tuple[int, str]]:
    if not module.path.startswith("etl/steps/") or module.path.endswith("__init__.py"):
        return
    for line, name in module.imports():
        if within(name, "etl.steps"):
            yield line, f"a step must not import {name}"


def only_tables_touches_delta(module: Module) -> Iterator[tuple[int, str]]:
    if module.path == "etl/tables.py":
        return
    for line, name in module.imports():
        if within(name, "delta"):
            yield line, "delta is for etl/tables.py"
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="format" | "using"), args=[ast.Constant(value="delta"), *_]):
                yield node.lineno, 'format("delta") is for etl/tables.py'
            case ast.Attribute(attr="DeltaTable" | "mergeInto") | ast.Name(id="DeltaTable"):
                yield node.lineno, "DeltaTable and mergeInto are for etl/tables.py"
            case ast.Constant(value=str(text)) if text.lstrip().upper().startswith(("MERGE INTO", "DESCRIBE HISTORY")):
                yield node.lineno, f"{text.split()[0]} is for etl/tables.py"


def nothing_that_spark_connect_lacks(module: Module) -> Iterator[tuple[int, str]]:
    for line, name in module.imports():
        if within(name, "pyspark.SparkContext") or within(name, "pyspark.rdd") or name == "pyspark.RDD":
            yield line, f"{name} does not exist over Spark Connect"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in {"sparkContext", "_jvm", "_jsc", "_jdf", "rdd"}:
            yield node.lineno, f".{node.attr} does not exist over Spark Connect"


def no_module_hides_the_standard_library(module: Module) -> Iterator[tuple[int, str]]:
    """The script's folder is first on the path when Spark runs etl/__main__.py, so `etl/select.py` would be `select`."""
    name = module.path.split("/")[1].removesuffix(".py")
    if name in sys.stdlib_module_names and name not in {"__init__", "__main__"}:
        yield 1, f"{name} is a module of the standard library"


def no_bare_except(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "name the exceptions"


RULES: list[Rule] = [
    udfs_know_neither_spark_nor_etl,
    steps_do_not_import_each_other,
    only_tables_touches_delta,
    nothing_that_spark_connect_lacks,
    no_module_hides_the_standard_library,
    no_bare_except,
]


def project_modules() -> list[Module]:
    files = sorted(path for package in ("etl", "udfs") for path in (ROOT / package).rglob("*.py"))
    return [Module(f.relative_to(ROOT).as_posix(), ast.parse(f.read_text(encoding="utf-8"), f.name)) for f in files]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps(rule: Rule) -> None:
    modules = project_modules()
    assert len(modules) > 20
    assert [f"{m.path}:{line}: {what}" for m in modules for line, what in rule(m)] == []


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (udfs_know_neither_spark_nor_etl, "udfs/a.py", "def f():\n    from etl.tables import read"),
        (udfs_know_neither_spark_nor_etl, "udfs/a.py", "import pyspark.sql.functions as F"),
        (udfs_know_neither_spark_nor_etl, "udfs/register.py", "import etl"),
        (steps_do_not_import_each_other, "etl/steps/a.py", "from etl.steps.b import run"),
        (steps_do_not_import_each_other, "etl/steps/a.py", "from . import b"),
        (only_tables_touches_delta, "etl/a.py", "spark.read.format('delta').load(path)"),
        (only_tables_touches_delta, "etl/a.py", "from delta.tables import DeltaTable"),
        (only_tables_touches_delta, "etl/a.py", "rows.mergeInto('t', on)"),
        (only_tables_touches_delta, "etl/a.py", "spark.sql(f'''\n  merge into {table} ...''')"),
        (nothing_that_spark_connect_lacks, "etl/a.py", "spark.sparkContext.setLogLevel('ERROR')"),
        (nothing_that_spark_connect_lacks, "etl/a.py", "from pyspark import SparkContext"),
        (nothing_that_spark_connect_lacks, "etl/a.py", "rows.rdd.getNumPartitions()"),
        (no_module_hides_the_standard_library, "etl/select.py", ""),
        (no_module_hides_the_standard_library, "udfs/json/__init__.py", ""),
        (no_bare_except, "udfs/a.py", "try:\n    f()\nexcept:\n    pass"),
    ],
)
def test_a_rule_sees_what_breaks_it(rule: Rule, path: str, source: str) -> None:
    assert list(rule(Module(path, ast.parse(source))))


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (udfs_know_neither_spark_nor_etl, "udfs/register.py", "from pyspark.sql import SparkSession"),
        (udfs_know_neither_spark_nor_etl, "udfs/a.py", "from udfs.text import words"),
        (steps_do_not_import_each_other, "etl/steps/__init__.py", "from etl.steps import embed"),
        (only_tables_touches_delta, "etl/tables.py", "spark.read.format('delta').load(path)"),
        (only_tables_touches_delta, "etl/a.py", "text.format('two')"),
        (no_module_hides_the_standard_library, "etl/steps/select.py", ""),
    ],
)
def test_a_rule_lets_pass_what_is_right(rule: Rule, path: str, source: str) -> None:
    assert not list(rule(Module(path, ast.parse(source))))
