"""One worker's share of the run's bounds: requests in flight, requests and tokens a minute, and money."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from udfs.engines.limits import AdaptiveLimit, Pace
from udfs.engines.protocol import ChatRequest, EngineSpec
from udfs.engines.purse import UNLIMITED, Amount, Purse, cost_of
from udfs.engines.wire import Reply, worst_tokens

NO_PRICES: Mapping[str, tuple[float, float]] = MappingProxyType({})


class Bounds:
    """All that a request must wait for before it is sent.

    `places` requests may be out at once; the rates are the same share of the spec's as `places` is of its `max_in_flight`. `troubles` counts the tries
    that brought no answer, by kind.
    """

    def __init__(
        self,
        spec: EngineSpec,
        places: int | None = None,
        purse: Purse | None = None,
        prices: Mapping[str, tuple[float, float]] = NO_PRICES,
    ) -> None:
        if spec.max_in_flight < 1:
            raise ValueError(f"max_in_flight is {spec.max_in_flight}; it must be at least 1")
        self._spec = spec
        self._prices = prices
        self.limit = AdaptiveLimit(spec.max_in_flight)
        self.purse = purse or Purse(UNLIMITED)
        self.troubles: Counter[str] = Counter()
        self.on_change: Callable[[], None] = lambda: None
        self._requests = Pace(spec.rpm, time.monotonic)
        self._tokens = Pace(spec.tpm, time.monotonic)
        if places is not None:
            self.resize(places)

    @property
    def places(self) -> int:
        """The most requests that may be out at once."""
        return self.limit.maximum

    def resize(self, places: int) -> None:
        """Changes the share; 0 pauses. More than `places` may still be out until answers come in."""
        if places == self.limit.maximum:
            return
        self.limit.resize(places)
        share = places / self._spec.max_in_flight
        self._requests.change(self._spec.rpm * share)
        self._tokens.change(self._spec.tpm * share)
        self.on_change()

    def stop(self) -> None:
        """Lets no more requests out; those that are out are waited for."""
        self.purse.close()
        self.on_change()

    def worst(self, request: ChatRequest) -> Amount:
        """The most that one try of a request may take: every byte of the prompt a token, and the longest answer."""
        prompt, answer = worst_tokens(request)
        return Amount(1, prompt + answer, cost_of(self._prices, request.model, prompt, answer))

    def used(self, model: str, reply: Reply, worst: Amount) -> Amount:
        """What an answered try took; its worst case where the server does not say."""
        if not reply.prompt_tokens:
            return worst
        tokens = reply.prompt_tokens + reply.completion_tokens
        return Amount(1, tokens, cost_of(self._prices, model, reply.prompt_tokens, reply.completion_tokens))

    async def enter(self, tokens: float) -> int:
        """Waits for a place and for the rates. Returns the epoch to hand to `limit.overloaded`; `leave` must follow."""
        epoch = await self.limit.acquire()
        try:
            await self._requests.wait()
            await self._tokens.wait(tokens)
        except BaseException:
            self.limit.release()
            raise
        return epoch

    def leave(self, reserved_tokens: float, used_tokens: float) -> None:
        """Gives the place back, and what an answer did not use of the tokens a minute."""
        self.limit.release()
        self._tokens.settle(reserved_tokens, used_tokens)
