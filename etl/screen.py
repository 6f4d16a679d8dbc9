"""What a run shows: a line per step with rows in, rows out, dropped by reason and seconds; a live line on a terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from etl.step import Outcome

# Between "100 in, 90 out" and its seconds there is room for the commonest reasons; `boostqa report` shows them all.
SHOWN_REASONS = 8
# Where there is no terminal, long work is a line this often.
PLAIN_S = 30.0


class Screen:
    """Prints progress to stderr, so that stdout stays for results: a live line with its seconds on a terminal, plain lines elsewhere.

    As a context manager it takes the live line away at the end, however that comes.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Progress | None = None
        self._head = ""
        self._told_at = 0.0

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def begin(self, number: int, total: int, step: str) -> None:
        """Shows that a step has begun."""
        self.start(f"[{number:>2}/{total}] {step}")

    def start(self, head: str) -> None:
        """Shows that something has begun that may take a while; nothing is shown of it where there is no terminal."""
        self._stop()
        self._head = head
        self._told_at = time.monotonic()
        if self._console.is_terminal:
            self._live = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[counts]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._live.add_task(escape(head), total=None, counts="")
            self._live.start()

    def say(self, text: str) -> None:
        """Shows what the running step is doing."""
        if self._live is not None:
            self._begin_anew(self._live, text)
        else:
            self._console.print(f"        {text}", markup=False)

    def progress(self, what: str, done: int, total: int) -> None:
        """Shows how far the running step is: a bar on a terminal, a line every PLAIN_S seconds elsewhere."""
        counts = f"{done:,} of {total:,}"
        if self._live is not None:
            text = self._described(what)
            self._live.update(self._live.task_ids[0], description=text, completed=done, total=total, counts=counts)
            self._live.refresh()
        elif time.monotonic() - self._told_at >= PLAIN_S:
            self._told_at = time.monotonic()
            self._console.print(f"        {what}: {counts} ({100 * done // max(total, 1)} %)", markup=False)

    def _begin_anew(self, live: Progress, text: str) -> None:
        # A bar can not forget how long it was: a new one, with the clock of the old.
        old = live.tasks[0]
        live.remove_task(old.id)
        live.add_task(self._described(text), total=None, counts="")
        live.tasks[0].start_time = old.start_time

    def _described(self, text: str) -> str:
        return escape(f"{self._head}: {text}")

    def end(self, step: str, status: str, outcome: Outcome, seconds: float) -> None:
        """Shows what became of a step's rows."""
        self._stop()
        self._console.print(f"{self._head:<20} {line(status, outcome, seconds)}", markup=False)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def line(status: str, outcome: Outcome, seconds: float) -> str:
    """Words an outcome in one line."""
    if status == "unchanged":
        return f"unchanged ({outcome.rows_out:,} rows)"
    if outcome.rows_in == 0:
        return f"nothing new, {seconds:.1f} s"
    dropped = reasons(outcome.dropped)
    return f"{outcome.rows_in:,} in, {outcome.rows_out:,} out{f' ({dropped})' if dropped else ''}, {seconds:.1f} s"


def reasons(dropped: dict[str, int]) -> str:
    """Words the dropped rows, the commonest reasons first."""
    ordered = sorted(dropped.items(), key=lambda kv: (-kv[1], kv[0]))
    # A single reason is shorter than its summary.
    bound = SHOWN_REASONS if len(ordered) > SHOWN_REASONS + 1 else len(ordered)
    shown = [f"{count:,} {reason}" for reason, count in ordered[:bound]]
    rest = sum(count for _, count in ordered[bound:])
    return ", ".join([*shown, f"{rest:,} for other reasons"] if rest else shown)
