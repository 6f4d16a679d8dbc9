"""Figures -> one HTML page. A pure function: no file is read but the package's own templates, and nothing on the page reaches the network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from etl.report.figures import CellMap, Figures, Measured, Question, Stage
from udfs.engines.teacher_rules import MODEL

LEVELS = (1, 2, 3, 4, 5)
SHADES = 5
# Only the page's own script and style may run, by their hashes; no address may be opened by the page itself.
POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
)
SAMPLE_COLUMNS = tuple(Question.__dataclass_fields__)
SCOPE_KINDS = ("all", "branch", "difficulty", "discipline", "source", "cell")


def render(figures: Figures) -> str:
    """Returns the page. All text is escaped where it stands; the sample is a JSON block that its script shows as plain text."""
    style, script = _packaged("report.css"), _packaged("report.js")
    page = _environment(figures.names).get_template("report.html.j2")
    return page.render(
        f=figures,
        policy=POLICY.format(script=_digest(script), style=_digest(style)),
        style=Markup(style),
        script=Markup(script),
        sample=sample_json(figures),
        placeholders=any(call.model == MODEL for call in figures.calls),
        units=funnel_units(figures.funnel),
        maps=[_map_view(m, figures.names) for m in figures.maps],
        diversity=_by_items(figures.diversity, figures.names),
        levels=LEVELS,
    )


def _packaged(name: str) -> str:
    return (files("etl.report") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _environment(names: dict[str, str]) -> Environment:
    made = Environment(
        loader=FunctionLoader(_packaged),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plain = (number, compact, decimal, money, percent, duration, words)
    made.filters.update({function.__name__: function for function in plain})
    made.filters.update(share=_share, total=_total)
    made.filters["discipline"] = lambda name: names.get(name, words(name))
    return made


def number(value: float) -> str:
    """Writes a count with thousands separators."""
    return f"{value:,.0f}"


def compact(value: float) -> str:
    """Writes a count in at most five characters: 9,999 and then 10.0k, 123k, 1.2M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= max(size, 9_999.5):
            return f"{value / size:.{1 if value < 99.95 * size else 0}f}{unit}"
    return number(value)


def decimal(value: float | None, places: int = 2) -> str:
    """Writes a measure; a dash for what is not known."""
    return "–" if value is None else f"{value:,.{places}f}"


def money(value: float) -> str:
    """Writes an amount: cents, or finer where there are not ten units of it."""
    return decimal(value, 4 if 0 < value < 10 else 2)


def percent(part: float, whole: float) -> str:
    """Writes a share."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def duration(seconds: float) -> str:
    """Writes seconds as people say them."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def words(name: str) -> str:
    """Writes an identifier as words: `near_duplicate_v1` becomes `near duplicate`."""
    return re.sub(r"_v\d+$", "", name).replace("_", " ")


def _share(value: float, top: float) -> str:
    return f"{100 * value / top:.2f}" if top else "0"


def _total(rows: Iterable[Any], name: str) -> float:
    return float(sum(getattr(row, name) for row in rows))


def sample_json(figures: Figures) -> Markup:
    """Writes the sample as JSON that can stand inside an HTML script element: no character in it can end the element or start a comment."""
    names = {q.discipline: figures.names.get(q.discipline, words(q.discipline)) for q in figures.sample}
    rows = [[getattr(q, column) for column in SAMPLE_COLUMNS] for q in figures.sample]
    text = json.dumps(
        {"columns": SAMPLE_COLUMNS, "rows": rows, "names": names}, ensure_ascii=False, separators=(",", ":")
    )
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def funnel_units(stages: Iterable[Stage]) -> list[dict[str, Any]]:
    """Groups the stages by what they count: bars are compared within a group only."""
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(stage.unit, []).append(stage)
    return [
        {"unit": unit, "stages": held, "top": max((s.rows or 0) + sum(s.dropped.values()) for s in held)}
        for unit, held in groups.items()
    ]


def _map_view(found: CellMap, names: dict[str, str]) -> dict[str, Any]:
    top = max(found.cells.values(), default=0.0)
    held = {discipline for discipline, _ in found.cells if discipline}
    order = [name for name in names if name in held] + sorted(held - set(names))
    rows = [(name, [_cell(found.cells.get((name, level)), top) for level in LEVELS]) for name in order]
    unlabelled = sum(value for (name, level), value in found.cells.items() if not name or level not in LEVELS)
    return {"kind": found.kind, "rows": rows, "unlabelled": unlabelled}


def _cell(value: float | None, top: float) -> dict[str, Any]:
    if value is None:
        return {"value": None, "shade": 0}
    # The square root keeps small cells apart where one is very large.
    return {"value": value, "shade": max(1, round(SHADES * (value / top) ** 0.5)) if top else 1}


def _by_items(measured: tuple[Measured, ...], names: dict[str, str]) -> list[dict[str, Any]]:
    sides = []
    for items in ("documents", "qa"):
        mine = [m for m in measured if m.items == items and "vendi_q1" in m.values]
        kinds = [(kind, _rows_of(mine, kind, names)) for kind in SCOPE_KINDS]
        if mine:
            sides.append({"items": items, "kinds": [(kind, rows) for kind, rows in kinds if rows]})
    return sides


def _rows_of(measured: list[Measured], kind: str, names: dict[str, str]) -> list[dict[str, Any]]:
    mine = [m for m in measured if m.scope.partition("=")[0] == kind]
    rows = [{"label": _scope_label(m.scope, names), "n": m.n, "values": m.values} for m in mine]
    return sorted(rows, key=lambda row: str(row["label"]))


def _scope_label(scope: str, names: dict[str, str]) -> str:
    kind, _, value = scope.partition("=")
    if kind == "cell":
        discipline, _, level = value.rpartition("/")
        return f"{names.get(discipline, words(discipline))}, level {level}"
    if kind == "difficulty":
        return f"level {value}"
    return value if kind == "source" else names.get(value, words(value)) or "all"
