"""`boostqa check`: everything that can be known before anything is paid, from the driver and from an executor."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from etl.commands.arguments import add_config, config_of, place
from etl.config import Config
from etl.errors import UserError
from etl.failures import first_line, user_line
from etl.pipeline import ORDER
from etl.preflight import check_before, models_of
from etl.probes import embedding_model, endpoint, executors_storage, sources, storage
from etl.session import get_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add_parser("check", help="check config, storage, endpoint and model before anything is paid")
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints one line per check; exit code 2 when there is a problem."""
    config = config_of(args)
    _say(True, "config", f"{args.conf}: {len(config.sources)} sources, warehouse {place(config.tables)}")
    good = _check("inputs", lambda: _inputs(config))
    try:
        spark = get_spark()
    except UserError as err:
        _say(False, "spark", str(err))
        return UserError.exit_code
    _say(True, "spark", f"Spark {spark.version}")
    for name, probe in _probes(spark, config):
        good = _check(name, probe) and good
    return 0 if good else UserError.exit_code


def _inputs(config: Config) -> str:
    check_before(config, [step for step in ORDER if not step.tasks_under(config)])
    return "taxonomy, packages, tokenizer and local paths are there"


def _probes(spark: SparkSession, config: Config) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "sources", lambda: sources(spark, config)
    yield "storage", lambda: storage(config)
    yield "storage", lambda: executors_storage(spark, config)
    for model in models_of(config, {step.name for step in ORDER}):
        yield "endpoint", partial(endpoint, spark, config, model)
    yield "model", lambda: embedding_model(spark, config)


def _check(name: str, probe: Callable[[], str]) -> bool:
    try:
        said = probe()
    except Exception as err:  # noqa: BLE001 - every problem is a line, whatever it is, and the next check follows
        _say(False, name, user_line(err) or first_line(err))
        return False
    _say(True, name, said)
    return True


def _say(good: bool, name: str, text: str) -> None:
    print(f"{'ok     ' if good else 'PROBLEM'}  {name:<9} {text}", flush=True)
