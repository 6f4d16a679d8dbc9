"""`boostqa trace ID`: one page that leads from any row back to its prompt, its model, its seed and the source file."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from etl.commands.arguments import add_config, open_warehouse
from etl.errors import UserError
from etl.lineage import MAX_ROWS, Lineage, Record, find_lineage

if TYPE_CHECKING:
    from etl.commands.arguments import Commands

TEXT_BOUND = 4000


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add_parser("trace", help="from any row's id back to prompt, model, seed and source file")
    parser.add_argument(
        "id", metavar="ID", help="an exported id, or a doc_id, draft_id, qa_id or request_id of any table"
    )
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the page. Raises UserError for an id that no table has."""
    _, tables = open_warehouse(args)
    lineage = find_lineage(tables, args.id)
    if lineage is None:
        raise UserError(f"no table of {tables.root} has the id {args.id!r}: is it whole, and of this warehouse?")
    print(page(lineage))
    return 0


def page(lineage: Lineage) -> str:
    """Lays a lineage out to be read from the row back to the source."""
    rows = lineage.rows
    parts = [f"{lineage.kind} {lineage.id}"]
    parts += [_question(row, rows) for row in rows.get("refinements", [])]
    refined = {row["draft_id"] for row in rows.get("refinements", [])}
    parts += [
        _draft(row) for row in rows.get("drafts", []) if row["draft_id"] not in refined or lineage.kind != "document"
    ]
    parts += [_probe(row) for row in rows.get("probe_results", [])]
    parts += [_seed(row, rows) for row in rows.get("documents", [])]
    # A document's page would drown in the prompts of all that was made of it.
    calls = sorted(rows.get("llm_calls", []), key=lambda row: str(row["created_at"]))
    parts += [_call(row) for row in calls] if lineage.kind != "document" else []
    if any(len(found) == MAX_ROWS for found in rows.values()):
        parts.append(f"Of each table no more than {MAX_ROWS} rows are shown.")
    parts.append(
        "table versions: " + ", ".join(f"{name} {version}" for name, version in sorted(lineage.versions.items()))
    )
    return "\n\n".join(parts)


def _section(title: str, *lines: tuple[str, object]) -> str:
    shown = [f"  {name:<12} {_indented(value)}" for name, value in lines if value not in (None, "", [])]
    return "\n".join([title, *shown])


def _indented(value: object) -> str:
    text = ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)
    cut = f"{text[:TEXT_BOUND]} ... ({len(text) - TEXT_BOUND:,} more characters)" if len(text) > TEXT_BOUND else text
    return "\n".join(f"{'':<15}{line}".rstrip() for line in cut.splitlines()).strip()


def _question(row: Record, rows: dict[str, list[Record]]) -> str:
    fate = next((qa for qa in rows.get("qa", []) if qa["qa_id"] == row["qa_id"]), {})
    twin = next((d for d in rows.get("duplicates", []) if d["item_id"] == row["qa_id"]), None)
    exported = any(m["item_id"] == row["qa_id"] for m in rows.get("mixture", []))
    return _section(
        f"QUESTION {row['qa_id']}",
        ("question", row["question"]),
        ("answer", row["answer"]),
        ("draft answer", fate.get("draft_answer")),
        ("label", _label(row["qa_id"], rows)),
        ("refinement", " ".join(filter(None, [row["verdict"], *[f"[{edit}]" for edit in row["edits"] or []]]))),
        (
            "fate",
            " ".join(
                filter(None, [fate.get("status") or row["status"], fate.get("reason") or row["reason"], row["error"]])
            ),
        ),
        ("quality", f"{fate['quality']:.2f}" if fate.get("quality") is not None else None),
        ("duplicate", f"of {twin['kept_id']}, cosine {twin['cosine']:.4f}" if twin else None),
        ("mixture", "in the training set" if exported else "not in a training set"),
        ("draft", row["draft_id"]),
        ("request", row["request_id"]),
    )


def _draft(row: Record) -> str:
    return _section(
        f"DRAFT {row['draft_id']}",
        ("question", row["question"]),
        ("answer", row["answer"]),
        (
            "asked for",
            f"{row['branch']}, {row['grade']}, {row['discipline']}, difficulty {row['target_difficulty']}, {row['lang']}",
        ),
        ("fate", " ".join(filter(None, [row["status"], row["reason"], row["error"]]))),
        ("plan", row["plan_id"]),
        ("seeds", row["seed_ids"]),
        ("request", row["request_id"]),
    )


def _probe(row: Record) -> str:
    verdict = {True: "right", False: "wrong", None: row["reason"]}[row["correct"]]
    return _section(
        f"PROBE of {row['item_id']}", ("model", row["model"]), ("answer", row["answer"]), ("verdict", verdict)
    )


def _seed(row: Record, rows: dict[str, list[Record]]) -> str:
    verdict = next((c for c in rows.get("curation", []) if c["doc_id"] == row["doc_id"]), {})
    twin = next((d for d in rows.get("duplicates", []) if d["item_id"] == row["doc_id"]), None)
    kept = {True: "kept", False: f"dropped: {verdict.get('reason')}", None: None}[verdict.get("kept")]
    of_page = (
        f"part of {row['parent_id']}, from character {row['offset']}" if row["parent_id"] != row["doc_id"] else None
    )
    return _section(
        f"SEED {row['doc_id']}",
        ("file", row["uri"]),
        ("source", f"{row['source']}, {row['format']}, {row['license']}, {row['lang']}, {row['n_tokens']} tokens"),
        ("title", row["title"]),
        ("passage", of_page),
        ("text", row["text"]),
        ("label", _label(row["doc_id"], rows)),
        ("curation", kept),
        ("stands for", verdict.get("kept_id")),
        ("duplicate", f"of {twin['kept_id']}, cosine {twin['cosine']:.4f}" if twin else None),
    )


def _label(item_id: str, rows: dict[str, list[Record]]) -> str | None:
    notes = [a for a in rows.get("annotations", []) if a["item_id"] == item_id]
    shown = [
        f"{a['discipline']} / {a['field']}, difficulty {a['difficulty']}, by {a['annotator']}"
        if a["discipline"]
        else f"none by {a['annotator']}: {a['reason']}"
        for a in sorted(notes, key=lambda a: str(a["annotator"]))
    ]
    return "; ".join(shown) or None


def _call(row: Record) -> str:
    prompt = "\n\n".join(f"<{m['role']}>\n{m['content']}" for m in json.loads(row["messages"]))
    return _section(
        f"REQUEST {row['request_id']}, {row['task']}",
        (
            "model",
            f"{row['model']}, answered by {row['served_model']}"
            if row["served_model"] != row["model"]
            else row["model"],
        ),
        ("prompt", row["prompt_id"]),
        ("params", f"{row['params']} sample {row['sample']}"),
        ("when", f"{row['created_at']} in run {row['run_id']}"),
        ("cost", f"{row['prompt_tokens']} + {row['completion_tokens']} tokens, {row['cost']}, {row['attempts']} tries"),
        ("status", " ".join(filter(None, [row["status"], row["finish_reason"], row["error"]]))),
        ("sent", prompt),
        ("reasoning", row["reasoning"]),
        ("answered", row["response"]),
    )
