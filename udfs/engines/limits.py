"""How many requests may be out at once, and how fast they may start."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class AdaptiveLimit:
    """A bound on requests in flight that feels its way: up while the server answers, halved when it is overloaded.

    It starts at a quarter of `maximum`. Until the first overload each answer adds one (slow start), after it one answer
    adds 1/16 of the maximum divided by the limit, so a whole round of answers adds 1/16. It never leaves 1..maximum, and a
    maximum of 0 is a pause.
    """

    def __init__(self, maximum: int) -> None:
        if maximum < 0:
            raise ValueError(f"max_in_flight is {maximum}; it must be at least 1")
        self.maximum = maximum
        self.in_flight = 0
        self._limit = max(1.0, float(maximum // 4))
        self._epoch = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return min(int(self._limit), self.maximum)

    def resize(self, maximum: int) -> None:
        """Sets another maximum; 0 pauses. Requests that are out already stay out: wait until `in_flight` has come down."""
        if self.maximum == 0:
            self._limit = max(self._limit, float(maximum // 4))
        self.maximum = maximum
        self._wake()

    async def acquire(self) -> int:
        """Waits for a free place and takes it. Returns the epoch to hand to `overloaded`."""
        while self.in_flight >= self.limit:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()
                raise
        self.in_flight += 1
        return self._epoch

    def release(self) -> None:
        """Gives the place back."""
        self.in_flight -= 1
        self._wake()

    def answered(self) -> None:
        """Tells that the server answered in good health."""
        rise = 1.0 if self._epoch == 0 else max(1.0, self.maximum / 16) / self._limit
        self._limit = max(1.0, min(float(self.maximum), self._limit + rise))
        self._wake()

    def overloaded(self, epoch: int) -> None:
        """Tells of a 429 or 503. Halves once for each burst: requests sent before the last halving say nothing new."""
        if epoch == self._epoch:
            self._limit = max(1.0, self._limit / 2)
            self._epoch += 1

    def _wake(self) -> None:
        free = self.limit - self.in_flight
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1


class Pace:
    """Spaces out the start of requests so that `per_minute` units (requests or tokens) are not passed. 0 means no
    bound.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next = clock()

    def change(self, per_minute: float) -> None:
        """Sets another pace for what starts from now on."""
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0

    async def wait(self, amount: float = 1.0) -> None:
        """Takes `amount` units and sleeps until their turn."""
        if not self._seconds_each:
            return
        start = max(self._clock(), self._next)
        self._next = start + amount * self._seconds_each
        await asyncio.sleep(start - self._clock())

    def settle(self, reserved: float, used: float) -> None:
        """Gives back what an answer did not use of its reservation."""
        self._next -= max(0.0, reserved - used) * self._seconds_each


class Balancer:
    """Spreads requests over several servers, each to the one with the fewest in flight that is not resting.

    A server that fails fast always has the fewest in flight and would draw all requests to itself, so it rests for a
    while. `prefer` may name a server for a request's key, so that requests that share a prefix meet the same cache.
    """

    def __init__(
        self, count: int, clock: Callable[[], float], prefer: Callable[[str], int | None] = lambda key: None
    ) -> None:
        self.loads = [0] * count
        self._rest_until = [0.0] * count
        self._clock = clock
        self._prefer = prefer

    def take(self, key: str = "", avoid: int | None = None) -> int:
        """Chooses a server for the request and counts it. Returns its index; one that rests only if all do, the one to `avoid` only where the others rest."""
        now = self._clock()
        rests = [until > now for until in self._rest_until]
        chosen = self._prefer(key)
        if chosen is None or rests[chosen] or chosen == avoid:
            chosen = min(range(len(self.loads)), key=lambda index: (rests[index], index == avoid, self.loads[index]))
        self.loads[chosen] += 1
        return chosen

    def give(self, index: int) -> None:
        """Tells that a request to server `index` is over."""
        self.loads[index] -= 1

    def rest(self, index: int, seconds: float) -> None:
        """Tells that server `index` is in trouble: others are asked for so long."""
        self._rest_until[index] = self._clock() + seconds
