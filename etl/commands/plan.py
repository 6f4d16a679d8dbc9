"""`boostqa plan`: the dry run. What would run, what it would ask and cost, with no call made and no table written."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from etl.commands.arguments import add_config, config_of
from etl.commands.grid import grid
from etl.config import Config
from etl.dry_run import StepPlan, cost, dry_run
from etl.pipeline import chosen_steps
from etl.screen import Screen
from etl.session import get_spark

if TYPE_CHECKING:
    from etl.commands.arguments import Commands

NUMBERS = ("requests", "in the ledger", "to ask", "prompt tokens", "answer tokens at most", "cost at most")
NOTE = (
    "Counted on the tables as they are now: steps that run first may add rows to those that follow. "
    "Prompt tokens are by {tokenizer}; answer tokens are max_tokens for each request, so the true cost is lower."
)
UNKNOWN = "What is not known yet becomes known as the steps before it run; `boostqa run --to plan` runs those that cost little."
NO_PRICE = "No cost for {models}: give prices under llm.prices, per million tokens."


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add_parser("plan", help="what a run would do and cost; makes no call")
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints one line per step, and the sum."""
    config = config_of(args)
    with Screen() as screen:
        screen.start("counting")
        plans = dry_run(get_spark(), config, chosen_steps())
    print(shown(plans, config), *notes(plans, config), sep="\n\n")
    return 0


def shown(plans: list[StepPlan], config: Config) -> str:
    """Lays the plan out as a table."""
    lines = [line for plan in plans for line in _lines(plan, config)]
    known = "of what is known" if any(plan.state == "unknown" for plan in plans) else ""
    return grid(("step", "what it does", *NUMBERS), [*lines, ("sum", known, *_sums(plans, config))], numbers=NUMBERS)


def _lines(plan: StepPlan, config: Config) -> list[tuple[str, ...]]:
    if not plan.asks:
        what = {"unchanged": "nothing: unchanged", "runs": "runs, asks nothing", "unknown": plan.note}[plan.state]
        return [(plan.step, "looks for new and changed files" if plan.step == "ingest" else what)]
    return [
        (
            plan.step,
            f"asks {asks.model}",
            f"{asks.requests:,}",
            f"{asks.hits:,}",
            f"{asks.requests - asks.hits:,}",
            f"{asks.prompt_tokens:,}",
            f"{asks.completion_tokens:,}",
            _money(cost(asks, config)),
        )
        for asks in plan.asks
    ]


def _sums(plans: list[StepPlan], config: Config) -> tuple[str, ...]:
    every = [asks for plan in plans for asks in plan.asks]
    requests, hits = sum(a.requests for a in every), sum(a.hits for a in every)
    costs = [cost(a, config) for a in every]
    known = None if None in costs and not any(costs) else sum(c or 0.0 for c in costs)
    tokens = [sum(a.prompt_tokens for a in every), sum(a.completion_tokens for a in every)]
    return (f"{requests:,}", f"{hits:,}", f"{requests - hits:,}", *[f"{n:,}" for n in tokens], _money(known))


def _money(amount: float | None) -> str:
    return "no price" if amount is None else f"{amount:,.4f}"


def notes(plans: list[StepPlan], config: Config) -> list[str]:
    """Says what the figures stand for, and what is missing."""
    said = [NOTE.format(tokenizer=config.ingest.tokenizer)]
    if any(plan.state == "unknown" for plan in plans):
        said.append(UNKNOWN)
    unpriced = {asks.model for plan in plans for asks in plan.asks} - set(config.llm.prices)
    if unpriced:
        said.append(NO_PRICE.format(models=", ".join(sorted(unpriced))))
    return said
