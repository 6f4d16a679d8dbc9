"""What the commands share: the arguments that name a configuration, and the way from them to the tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from etl.config import Config, TablesConfig, load_config
from etl.errors import UserError
from etl.session import get_spark
from etl.tables import Tables

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_config(parser: argparse.ArgumentParser, needed: bool = True) -> None:
    """Adds --conf and --set."""
    parser.add_argument("--conf", required=needed, help="a YAML file; it is laid over the packaged conf/base.yaml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="A.B=C",
        help="change one setting; the value is YAML; may be given again",
    )


def at_least_one(text: str) -> int:
    """Reads a whole number from 1 on, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def config_of(args: argparse.Namespace) -> Config:
    """Loads the configuration that the arguments name. Raises UserError."""
    return load_config(args.conf, args.sets)


def open_warehouse(args: argparse.Namespace) -> tuple[Config, Tables]:
    """Loads the configuration and opens its tables for reading. Raises UserError when nothing has been written there yet."""
    config = config_of(args)
    nothing = UserError(
        f"there are no tables in {place(config.tables)} yet: boostqa run --conf {args.conf} makes them (or is it another warehouse?)"
    )
    local = config.tables.warehouse
    if local and "://" not in local and not Path(local).is_dir():
        raise nothing
    tables = Tables(get_spark(), config.tables)
    if tables.version("steps") < 0:
        raise nothing
    return config, tables


def place(where: TablesConfig) -> str:
    """Names the warehouse as one types it."""
    return where.warehouse or f"{where.catalog}.{where.schema_name}"
