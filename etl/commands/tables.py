"""`boostqa tables`: what is in the warehouse."""

from __future__ import annotations

import argparse
from functools import reduce
from typing import TYPE_CHECKING

from etl.commands.arguments import add_config, open_warehouse
from etl.commands.grid import grid
from etl.schemas import TABLES
from etl.tables import Tables

if TYPE_CHECKING:
    from etl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add_parser("tables", help="list the tables: rows, version, address, what each is")
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints one line per table that has been written."""
    _, tables = open_warehouse(args)
    listed = [name for name in TABLES if tables.version(name) >= 0]
    counted = rows_of(tables, listed)
    rows = [
        (name, f"{counted[name]:,}", str(tables.version(name)), tables.address(name), TABLES[name].comment)
        for name in listed
    ]
    print(grid(("table", "rows", "version", "SQL name", "what it is"), rows, numbers=("rows", "version")))
    return 0


def rows_of(tables: Tables, names: list[str]) -> dict[str, int]:
    """Counts the rows of the named tables in one query."""
    from pyspark.sql import functions as F

    counts = [tables.read(name).select(F.lit(name).alias("name")).groupBy("name").count() for name in names]
    found = reduce(lambda a, b: a.unionByName(b), counts).collect() if counts else []
    return dict.fromkeys(names, 0) | {row["name"]: int(row["count"]) for row in found}
