from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from etl.screen import Screen, line, reasons
from etl.step import Outcome


def shown(terminal: bool) -> tuple[Screen, StringIO]:
    out = StringIO()
    return Screen(Console(file=out, force_terminal=terminal, width=200, highlight=False, color_system=None)), out


@pytest.mark.parametrize(
    ("status", "outcome", "words"),
    [
        (
            "done",
            Outcome(1200, 1100, {"too_short": 90, "gone": 10}),
            "1,200 in, 1,100 out (90 too_short, 10 gone), 2.5 s",
        ),
        ("done", Outcome(3, 3), "3 in, 3 out, 2.5 s"),
        ("done", Outcome(0, 0), "nothing new, 2.5 s"),
        ("unchanged", Outcome(1200, 1100), "unchanged (1,100 rows)"),
    ],
)
def test_a_step_is_one_line(status: str, outcome: Outcome, words: str) -> None:
    assert line(status, outcome, 2.5) == words


def test_many_reasons_are_summed_but_none_is_lost() -> None:
    many = {"a": 9, "b": 8, "c": 7, "d": 6, "e": 5, "f": 4, "g": 3, "h": 2, "i": 1, "j": 1}
    assert reasons(many) == "9 a, 8 b, 7 c, 6 d, 5 e, 4 f, 3 g, 2 h, 2 for other reasons"


def test_without_a_terminal_lines_are_plain_and_only_those_that_stay() -> None:
    screen, out = shown(terminal=False)
    with screen:
        screen.start("starting Spark")
        screen.begin(1, 16, "ingest")
        screen.say("reading [3] files")
        screen.end("ingest", "done", Outcome(3, 3), 0.1)
    assert out.getvalue().splitlines() == ["        reading [3] files", "[ 1/16] ingest       3 in, 3 out, 0.1 s"]


def test_on_a_terminal_what_runs_is_shown_with_its_seconds() -> None:
    screen, out = shown(terminal=True)
    with screen:
        screen.begin(2, 16, "curate")
        screen.say("looking [for] duplicates")
        screen.end("curate", "done", Outcome(3, 3), 0.1)
    assert "[ 2/16] curate: looking [for] duplicates" in out.getvalue()
    assert "0:00:0" in out.getvalue()


def test_the_live_line_is_taken_away_at_the_end() -> None:
    screen, out = shown(terminal=True)
    screen.begin(1, 1, "embed")
    with screen:
        pass
    # Shows the cursor again: the user's terminal is as it was.
    assert out.getvalue().rstrip().endswith(("\x1b[?25h", "\x1b[2K"))


def test_long_work_is_a_bar_on_a_terminal_that_the_next_work_does_not_keep() -> None:
    screen, out = shown(terminal=True)
    with screen:
        screen.begin(3, 16, "embed")
        screen.say("embedding 2000 texts")
        screen.progress("embedding", 500, 2000)
        screen.say("counting")
        screen.end("embed", "done", Outcome(3, 3), 0.1)
    assert "[ 3/16] embed: embedding" in out.getvalue()
    assert "500 of 2,000" in out.getvalue()
    assert "500 of 2,000" not in out.getvalue().rpartition("counting")[2]


def test_without_a_terminal_long_work_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, out = shown(terminal=False)
    with screen:
        screen.begin(3, 16, "embed")
        screen.progress("embedding", 10, 2000)
        monkeypatch.setattr("etl.screen.PLAIN_S", 0.0)
        screen.progress("embedding", 500, 2000)
        monkeypatch.undo()
        screen.progress("embedding", 510, 2000)
    assert out.getvalue().splitlines() == ["        embedding: 500 of 2,000 (25 %)"]
