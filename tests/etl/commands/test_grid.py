from __future__ import annotations

from etl.commands.grid import grid


def test_columns_are_as_wide_as_their_content() -> None:
    shown = grid(("table", "rows", "what"), [("qa", "1,200", "x" * 90), ("long_name", "3")], numbers=("rows",))
    assert shown.splitlines() == [
        "table       rows  what",
        f"---------  -----  {'-' * 90}",
        f"qa         1,200  {'x' * 90}",
        "long_name      3",
    ]


def test_without_rows_there_is_a_header() -> None:
    assert grid(("a",), []).splitlines() == ["a", "-"]
