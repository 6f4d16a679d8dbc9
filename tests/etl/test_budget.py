"""A budget's arithmetic: what is left by run and by step, and what stops before anything is asked."""

from __future__ import annotations

import math
from typing import Any

import pytest

from etl.budget import Spending, amount_of, check_prices
from etl.config import BudgetConfig, LimitsConfig
from etl.errors import UserError
from tests.etl.tiny import make_config
from udfs.engines.purse import Amount


def budget(steps: dict[str, Any] | None = None, **limits: float) -> BudgetConfig:
    none = {"max_requests": None, "max_tokens": None, "max_cost": None}
    return BudgetConfig(**{**none, **limits}, steps=steps or {})


def test_what_is_not_limited_is_infinite() -> None:
    assert amount_of(LimitsConfig(max_tokens=500)) == Amount(math.inf, 500, math.inf)


def test_what_is_left_is_the_less_of_the_runs_and_the_steps() -> None:
    spending = Spending(budget({"refine": {"max_tokens": 300}}, max_requests=10, max_tokens=1000), "synthesize")
    spending.add(Amount(4, 500, 1.5))
    assert spending.left == Amount(6, 500, math.inf)
    spending.step = "refine"
    assert spending.left == Amount(6, 300, math.inf)
    spending.add(Amount(1, 250, 0.5))
    assert spending.left == Amount(5, 50, math.inf)
    assert spending.total == Amount(5, 750, 2.0)


def test_the_end_of_a_budget_says_what_was_spent_and_what_to_do() -> None:
    spending = Spending(budget(max_requests=4), "refine")
    spending.add(Amount(4, 1234, 0.5))
    stop = spending.stop(1200)
    assert stop.exit_code == 3
    assert str(stop).startswith("the budget is used up: 4 requests, 1,234 tokens, 0.5000 money spent in this run")
    assert "1,200 requests left. Raise llm.budget and run again: what is paid is kept" in str(stop)


@pytest.mark.parametrize(
    ("limits", "name"),
    [({"max_cost": 1.0}, "llm.budget.max_cost"), ({"steps": {"refine": {"max_cost": 1.0}}}, "steps.refine.max_cost")],
)
def test_a_ceiling_of_money_needs_the_price_of_every_model(limits: dict[str, Any], name: str, tmp_path: Any) -> None:
    config = make_config(tmp_path, llm={"budget": limits, "prices": {}})
    with pytest.raises(UserError, match=f"{name} is set, but llm.prices has no price for stand-in"):
        check_prices(config.llm)


def test_ceilings_without_money_need_no_price(tmp_path: Any) -> None:
    check_prices(make_config(tmp_path, llm={"budget": {"max_requests": 5, "max_tokens": 5000}, "prices": {}}).llm)
