"""`boostqa doctor`: do the tables of a warehouse agree with each other?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from etl.commands.arguments import add_config, open_warehouse
from etl.doctor import examine

if TYPE_CHECKING:
    from etl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add_parser("doctor", help="check that the tables of a warehouse agree with each other")
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints one line per problem, with what to do; exit code 1 when there is any."""
    _, tables = open_warehouse(args)
    problems = examine(tables)
    for problem in problems:
        print(problem)
    if not problems:
        print("all well")
    return 1 if problems else 0
