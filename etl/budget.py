"""A budget's arithmetic: what is left of it, what a request may take at worst, and what each worker of a wave may spend."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.config import BudgetConfig, LimitsConfig, LlmConfig
from etl.errors import BudgetStop, UserError
from udfs.engines.purse import UNLIMITED, Amount

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def amount_of(limits: LimitsConfig) -> Amount:
    """Returns limits as an amount; what is not limited is infinite."""
    parts = (limits.max_requests, limits.max_tokens, limits.max_cost)
    return Amount(*[math.inf if part is None else float(part) for part in parts])


def check_prices(llm: LlmConfig, asked: Iterable[str] = ()) -> None:
    """Raises UserError when `max_cost` is set and a model has no price: its calls would look free. `asked` are models besides `llm.models`."""
    unpriced = sorted({*llm.models.model_dump().values(), *asked} - set(llm.prices))
    budgets = {"llm.budget": llm.budget, **{f"llm.budget.steps.{step}": b for step, b in llm.budget.steps.items()}}
    for name, limits in budgets.items():
        if limits.max_cost is not None and unpriced:
            raise UserError(f"{name}.max_cost is set, but llm.prices has no price for {', '.join(unpriced)}")


@dataclass
class Spending:
    """What this run has spent, by step, against its budgets."""

    budget: BudgetConfig
    step: str = ""
    spent: dict[str, Amount] = field(default_factory=dict)

    def add(self, amount: Amount) -> None:
        """Counts what a wave of the running step has spent."""
        self.spent[self.step] = self.spent.get(self.step, Amount()) + amount

    @property
    def total(self) -> Amount:
        """What the run has spent."""
        return sum(self.spent.values(), Amount())

    @property
    def left(self) -> Amount:
        """What the running step may still spend: the less of what is left of the run's budget and of its own."""
        run = amount_of(self.budget) - self.total
        limits = next((limits for step, limits in self.budget.steps.items() if step == self.step), None)
        own = amount_of(limits) - self.spent.get(self.step, Amount()) if limits else UNLIMITED
        return Amount(min(run.requests, own.requests), min(run.tokens, own.tokens), min(run.cost, own.cost))

    def stop(self, open_requests: int) -> BudgetStop:
        """Words the end of the budget."""
        total = self.total
        return BudgetStop(
            f"the budget is used up: {total.requests:,.0f} requests, {total.tokens:,.0f} tokens, {total.cost:,.4f} money spent in this run "
            f"(what may have been paid counts in full), {open_requests:,} requests left. Raise llm.budget and run again: what is paid is kept"
        )


def worst_tokens() -> tuple[Column, Column]:
    """Bytes of the prompt as tokens, and the longest answer that the parameters allow; null when they allow any."""
    bounds = [
        F.get_json_object("params", f"$.{name}").cast("bigint") for name in ("max_tokens", "max_completion_tokens")
    ]
    return F.octet_length("messages"), F.coalesce(*bounds)


def share_of_budget(left: Amount, llm: LlmConfig) -> Column:
    """The part of what is left that one try of a request takes at worst, by the scarcest of requests, tokens and money; null where it has no worst case."""
    prompt, answer = worst_tokens()
    cost = F.lit(0.0)
    for model, price in llm.prices.items():
        worst = (prompt * price.prompt + answer * price.completion) / 1e6
        cost = F.when(F.col("model") == model, worst).otherwise(cost)
    parts = [(F.lit(1.0), left.requests), (prompt + answer, left.tokens), (cost, left.cost)]
    shares = [_share(worst, bound) for worst, bound in parts if bound != math.inf]
    # `greatest` passes over nulls.
    return F.when(answer.isNotNull(), F.greatest(F.lit(0.0), *shares))


def _share(worst: Column, bound: float) -> Column:
    return worst / F.lit(bound) if bound > 0 else F.lit(math.inf)


@dataclass(frozen=True)
class Round:
    """What of a wave may be asked now, by how many workers, and what each of them may spend."""

    requests: DataFrame
    workers: int
    budget: Amount


def within_budget(wave: DataFrame, spending: Spending, llm: LlmConfig, workers: int) -> Round | None:
    """Divides what is left of the budget among so many of the workers that the smallest request still fits; None when it does not even fit into the whole.

    Raises UserError for a request without `max_tokens`, which has no worst case, and for a model without a price where money is bounded.
    """
    left = spending.left
    shared = wave.withColumn("share", share_of_budget(left, llm))
    said = shared.agg(
        F.min("share").alias("least"),
        F.count_if(F.col("share").isNull()).alias("unbounded"),
        F.collect_set("model").alias("models"),
    ).first()
    assert said is not None
    if left.cost != math.inf:
        check_prices(llm, said["models"])
    if said["unbounded"]:
        raise UserError(
            f"a budget is set, but the params of {spending.step} have no max_tokens: without it an answer has no worst case"
        )
    if said["least"] > 1:
        return None
    asking = min(workers, int(1 / said["least"])) if said["least"] else workers
    return Round(shared.where(F.col("share") <= 1 / asking).drop("share"), asking, left.times(1 / asking))
