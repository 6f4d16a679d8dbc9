"""Plain columns, as wide as their content: an address or an id that is cut is of no use, on a terminal or in a pipe."""

from __future__ import annotations

from collections.abc import Sequence


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> str:
    """Lays rows out under a header; the columns named in `numbers` are aligned to the right. A short row leaves the rest empty."""
    full = [[*row, *[""] * (len(header) - len(row))] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *full]) for i in range(len(header))]
    right = [name in numbers for name in header]
    lines = [list(header), ["-" * width for width in widths], *full]
    return "\n".join(
        "  ".join(
            value.rjust(width) if to_right else value.ljust(width)
            for value, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )
