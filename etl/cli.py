"""The command line: `boostqa ...`, `python -m etl ...` and `spark-submit etl/__main__.py ...` are the same."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from typing import NoReturn

from etl.commands import calls, check, data_set, doctor, plan, report, run, tables, teacher, trace, try_step
from etl.failures import explain
from etl.pipeline import NAMES
from etl.version import __version__

COMMANDS = (run, plan, try_step, check, data_set, tables, calls, report, trace, doctor, teacher)
INTERRUPTED = 130
# py4j logs the traceback of a Ctrl-C by these; what `main` says is enough.
LOG_INTERRUPTS = ("", "py4j.clientserver", "py4j.java_gateway")


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, without the whole usage above it."""

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2."""
        self.exit(2, f"boostqa: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of all commands; each sets `run`, the function that does the work."""
    parser = OneLineParser(
        prog="boostqa",
        description="Corpora in, a diverse, graded question-answer set out.",
        epilog=f"One step alone: boostqa STEP --conf FILE. Steps: {', '.join(NAMES)} (`plan`: boostqa run --steps plan).",
    )
    parser.add_argument("--version", action="version", version=f"boostqa {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 2 bad configuration or input, 3 stopped by a budget, 130 Ctrl-C, 1 anything else."""
    given = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args(given)
    for name in LOG_INTERRUPTS:
        logging.getLogger(name).addFilter(_tells_more_than_an_interrupt)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        print(f"\nboostqa: stopped. What is finished and paid is kept; go on with:\n  {again(given)}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has gone: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as err:  # noqa: BLE001
        failure = explain(err)
        print(f"boostqa: {failure.line}", file=sys.stderr)
        return failure.exit_code


def _tells_more_than_an_interrupt(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is None


def again(given: list[str]) -> str:
    """Returns the command line that was given, as one types it."""
    return shlex.join(["boostqa", *given])
