"""The command line: `boostqa ...`, `python -m etl ...` and `spark-submit etl/__main__.py ...` are the same."""

from __future__ import annotations

import argparse
import sys

from etl.config import load_config
from etl.errors import BudgetStop, UserError
from etl.pipeline import chosen_steps, run_pipeline
from etl.screen import Screen
from etl.session import get_spark
from etl.version import __version__


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="boostqa", description="Corpora in, a diverse, graded question-answer set out."
    )
    parser.add_argument("--version", action="version", version=f"boostqa {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the pipeline, or a part of it")
    _config_arguments(run)
    run.add_argument("--steps", help="only these steps, comma-separated")
    run.add_argument("--from", dest="first", help="begin with this step")
    run.add_argument("--to", dest="last", help="end with this step")
    return parser


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--conf", required=True, help="a YAML file; it is laid over the packaged conf/base.yaml")
    parser.add_argument(
        "--set", action="append", default=[], dest="sets", metavar="A.B=C", help="change one setting; the value is YAML"
    )


def _run(args: argparse.Namespace) -> int:
    config = load_config(args.conf, args.sets)
    steps = chosen_steps(args.steps, args.first, args.last)
    run_pipeline(get_spark(), config, steps, Screen())
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 2 bad configuration or input, 3 stopped by a budget, 1 anything else."""
    args = build_parser().parse_args(argv)
    try:
        return _run(args)
    except (UserError, BudgetStop) as err:
        print(f"boostqa: {err}", file=sys.stderr)
        return err.exit_code
