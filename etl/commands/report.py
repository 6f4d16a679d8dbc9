"""`boostqa report`: the warehouse as one HTML page."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from etl.commands.arguments import add_config, open_warehouse

if TYPE_CHECKING:
    from etl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add_parser("report", help="write one HTML page about the warehouse")
    add_config(parser)
    parser.add_argument("--out", default="report.html", metavar="FILE", help="where to write it (default: report.html)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the report and tells where it is."""
    from etl.report import write_report

    config, tables = open_warehouse(args)
    print(write_report(tables.spark, config, args.out))
    return 0
