"""`boostqa try`: prompts, answers and cost of a few rows, before a whole step is paid for."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from etl.commands.arguments import add_config, at_least_one, config_of
from etl.errors import UserError
from etl.pipeline import ORDER
from etl.preflight import check_before
from etl.screen import Screen
from etl.session import get_spark
from etl.trial import try_step

if TYPE_CHECKING:
    from pyspark.sql import Row

    from etl.commands.arguments import Commands

ASKING = tuple(dict.fromkeys(step.name for step in ORDER if step.tasks))
# What makes a step ask that does not always.
SWITCHES = {"measure": "set measure.cluster_agent.rounds"}
NOTHING = "Nothing to ask: the step has done all its rows, or the steps before it have not run yet (boostqa run --conf ... --to STEP)."


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add_parser("try", help="ask a few requests of a step and show prompts, answers and cost")
    parser.add_argument("step", choices=ASKING, help="a step that asks an LLM")
    add_config(parser)
    parser.add_argument(
        "-n", dest="rows", type=at_least_one, default=5, metavar="N", help="requests of each task (default: 5)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Asks, and prints what was asked and answered. The answers stay in the ledger: a run does not pay for them again."""
    config = config_of(args)
    step = next(step for step in ORDER if step.name == args.step)
    if not step.tasks_under(config):
        raise UserError(f"the step {step.name} asks no model as the config has it: {SWITCHES[step.name]}")
    with Screen() as screen:
        check_before(config, [step])
        screen.start(f"trying {step.name}")
        calls, asked = try_step(get_spark(), config, step, args.rows)
    print("\n\n".join([*map(shown, calls), summed(calls, asked)]))
    return 0


def shown(call: Row) -> str:
    """Lays out one call: what was asked, what came back, what it took."""
    asked = [f"{message['role'].upper()}\n{message['content']}" for message in json.loads(call["messages"])]
    answer = call["response"] if call["status"] == "ok" else f"FAILED: {call['error']}"
    tokens = f"{call['prompt_tokens'] or 0:,} tokens asked, {call['completion_tokens'] or 0:,} answered"
    head = f"--- {call['task']} ({call['prompt_id']}), {call['served_model'] or call['model']}, {tokens}, cost {call['cost'] or 0.0:.4f}, {call['request_id']}"
    thought = [f"REASONING\n{call['reasoning']}"] if call["reasoning"] else []
    return "\n\n".join([head, *asked, *thought, f"ANSWER ({call['finish_reason'] or 'none'})\n{answer}"])


def summed(calls: list[Row], asked: int) -> str:
    """Says what it cost, and what is kept of it."""
    if not calls:
        return NOTHING
    cost = sum(call["cost"] or 0.0 for call in calls)
    return f"{len(calls)} requests, {asked} of them asked now; cost {cost:.4f}, {cost / len(calls):.5f} each. The answers are in the ledger: a run does not pay for them again."
