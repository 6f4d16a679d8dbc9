"""What a run shows: a line per step with rows in, rows out, dropped by reason and seconds; a spinner on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.status import Status

from etl.step import Outcome


class Screen:
    """Prints progress to stderr, so that stdout stays for results: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._status: Status | None = None

    def begin(self, number: int, total: int, step: str) -> None:
        """Shows that a step has begun."""
        self._head = f"[{number:>2}/{total}] {step}"
        if self._console.is_terminal:
            self._status = self._console.status(self._head)
            self._status.start()

    def say(self, text: str) -> None:
        """Shows what the running step is doing."""
        if self._status is not None:
            self._status.update(f"{self._head}: {text}")
        else:
            self._console.print(f"        {text}", markup=False)

    def end(self, step: str, status: str, outcome: Outcome, seconds: float) -> None:
        """Shows what became of a step's rows."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        self._console.print(f"{self._head:<20} {line(status, outcome, seconds)}", markup=False)


def line(status: str, outcome: Outcome, seconds: float) -> str:
    """Words an outcome in one line."""
    if status == "unchanged":
        return f"unchanged ({outcome.rows_out} rows)"
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(outcome.dropped.items(), key=lambda kv: -kv[1]))
    return f"{outcome.rows_in} in, {outcome.rows_out} out{f' ({dropped})' if dropped else ''}, {seconds:.1f} s"
