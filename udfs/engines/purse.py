"""What one worker may spend: the worst case of a request is taken out before it is sent, what the answer did not use comes back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Amount:
    """Requests, tokens and money together."""

    requests: float = 0.0
    tokens: float = 0.0
    cost: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.requests + other.requests, self.tokens + other.tokens, self.cost + other.cost)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.requests - other.requests, self.tokens - other.tokens, self.cost - other.cost)

    def times(self, factor: float) -> Amount:
        """Each part times a factor."""
        return Amount(self.requests * factor, self.tokens * factor, self.cost * factor)

    def within(self, bound: Amount) -> bool:
        """Tells whether no part is over its bound, but for rounding."""
        pairs = ((self.requests, bound.requests), (self.tokens, bound.tokens), (self.cost, bound.cost))
        return all(part <= most * (1 + ROUNDING) for part, most in pairs)


ROUNDING = 1e-9
UNLIMITED = Amount(math.inf, math.inf, math.inf)


def cost_of(
    prices: Mapping[str, tuple[float, float]], model: str, prompt_tokens: float, completion_tokens: float
) -> float:
    """Returns the money for one call by `prices` (of a million prompt and completion tokens, by model); 0 for a model without a price."""
    prompt, completion = prices.get(model, (0.0, 0.0))
    return (prompt_tokens * prompt + completion_tokens * completion) / 1e6


@dataclass
class Purse:
    """Never lets what is spent and what is reserved pass `limit`. `empty` tells that a request had to be left unasked."""

    limit: Amount = UNLIMITED
    spent: Amount = field(default_factory=Amount)
    empty: bool = False
    _reserved: int = 0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def take(self, worst: Amount) -> bool:
        """Takes the worst case of one request out, where it is there."""
        if not (self.spent + worst).within(self.limit):
            return False
        self.spent = self.spent + worst
        self._reserved += 1
        return True

    def owe(self, worst: Amount) -> None:
        """Takes the worst case of a request out that was sent before, also where it is not there: it may be paid already."""
        self.spent = self.spent + worst
        self._reserved += 1

    async def reserve(self, worst: Amount) -> bool:
        """Takes like `take`, but waits while answers that are still out may bring enough back. False: it can not be had, and the purse is empty."""
        while not self.take(worst):
            self.empty = self.empty or not self._reserved
            if self.empty:
                return False
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        return True

    def settle(self, worst: Amount, used: Amount) -> None:
        """Puts back what a request did not use of its worst case. Give `worst` twice where it is not known: it may have been paid."""
        self.spent = self.spent - worst + used
        self._reserved -= 1
        self._wake()

    def close(self) -> None:
        """Lets nothing more be taken, as if all were spent."""
        self.limit, self.empty = Amount(), True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)
