"""`boostqa run`, and `boostqa STEP`: the pipeline or a part of it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from etl.commands import data_set
from etl.commands.arguments import add_config, config_of
from etl.errors import UserError
from etl.pipeline import NAMES, chosen_steps, run_pipeline
from etl.preflight import check_before
from etl.screen import Screen
from etl.session import get_spark
from etl.summary import summary
from etl.tracking import import_early

if TYPE_CHECKING:
    from etl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Declares `run`, and a command per step; `plan` is the dry run, so the step of that name is run by `run --steps plan`."""
    parser = commands.add_parser("run", help="run the pipeline, or a part of it")
    add_config(parser)
    add_retry(parser)
    parser.add_argument("--steps", metavar="X,Y", help="only these steps")
    parser.add_argument("--from", dest="first", metavar="STEP", help="begin with this step")
    parser.add_argument("--to", dest="last", metavar="STEP", help="end with this step")
    parser.set_defaults(run=run)
    for name in NAMES:
        if name != "plan":
            on_files = name in data_set.STEPS
            also = f", on a warehouse (--conf), or on a data set: boostqa {name} FILE --out DIR" if on_files else ""
            one = commands.add_parser(name, description=f"Run the step {name} alone{also}.")
            add_config(one, needed=not on_files)
            add_retry(one)
            if on_files:
                data_set.add_data_set(one)
            one.set_defaults(run=run_on_either if on_files else run, steps=name, first=None, last=None)


def add_retry(parser: argparse.ArgumentParser) -> None:
    """Adds --retry-failed."""
    parser.add_argument(
        "--retry-failed", action="store_true", help="ask the LLM calls that have failed for good once more"
    )


def run_on_either(args: argparse.Namespace) -> int:
    """Runs a step on the data set that is named, else on the warehouse of --conf."""
    if args.file:
        return data_set.run(args)
    if not args.conf:
        step = args.command
        raise UserError(
            f"boostqa {step} needs --conf FILE, or a data set: boostqa {step} FILE --text-field F --out DIR"
        )
    return run(args)


def run(args: argparse.Namespace) -> int:
    """Runs the chosen steps; at the end of a whole run it prints what was made."""
    config = config_of(args)
    steps = chosen_steps(args.steps, args.first, args.last)
    with Screen() as screen:
        screen.start("checking the inputs")
        check_before(config, steps)
        screen.start("starting Spark")
        import_early(config)
        finished = run_pipeline(get_spark(), config, steps, screen, args.retry_failed)
    if finished.figures is not None:
        sys.stderr.flush()
        print(summary(finished, config, args.conf, args.sets))
    return 0
