"""`boostqa dedup|measure FILE` and `boostqa decontaminate FILE --against FILE`: one step on any data set, without a pipeline."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from etl.config import Config, load_config
from etl.data_set import decontaminate, dedup, measure
from etl.data_set.rows import ROWS, WORK, Output, manifest_in
from etl.errors import UserError
from etl.part_files import ENCODERS
from etl.pipeline import Ran, run_pipeline
from etl.preflight import check_before, check_local_path
from etl.screen import Screen, reasons
from etl.session import get_spark
from etl.step import Step
from udfs.engines.teacher_rules import MODEL
from udfs.listing import covers, find_files
from udfs.storage import absolute, exists, list_files
from udfs.text import stable_id

if TYPE_CHECKING:
    from etl.commands.arguments import Commands

STEPS: Mapping[str, Callable[[Output], list[Step]]] = {
    "dedup": dedup.steps,
    "measure": measure.steps,
    "decontaminate": decontaminate.steps,
}
# One row a record, however long.
NEVER_CUT = 1_000_000_000
FORMATS = ("auto", "jsonl", "json", "csv", "tsv", "parquet", "markdown", "text", "html", "warc", "delta")


def add(commands: Commands) -> None:
    """Declares `decontaminate`; `dedup` and `measure` are steps too, so `etl.commands.run` declares them, with `add_data_set`."""
    parser = commands.add_parser(
        "decontaminate", help="find the rows of a data set that share an n-gram with a benchmark"
    )
    add_data_set(parser, needed=True)
    parser.add_argument("--conf", help="a YAML file with settings; curate.decontaminate may name the benchmarks")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="A.B=C", help="change one setting")
    parser.add_argument(
        "--against", action="append", default=[], metavar="FILE", help="a benchmark; may be given again"
    )
    parser.add_argument("--against-field", metavar="F", help="its field with the text (default: that of --text-field)")
    parser.set_defaults(run=run)


def add_data_set(parser: argparse.ArgumentParser, needed: bool = False) -> None:
    """Adds the data set, its text field, and where the rows go with their verdicts."""
    told = "a data set: file, folder, glob or Delta table; every row of it comes out, with a verdict"
    parser.add_argument("file", nargs=None if needed else "?", metavar="FILE", help=told)
    parser.add_argument("--text-field", default="text", metavar="F", help="its field with the text (default: text)")
    parser.add_argument("--format", default="auto", choices=FORMATS, help="its format (default: by the file's name)")
    parser.add_argument("--encoding", default="utf-8", help="its encoding (default: utf-8; or auto)")
    parser.add_argument("--out", required=needed, metavar="DIR", help="a new folder for the rows")
    parser.add_argument("--out-format", default="parquet", choices=sorted(ENCODERS), help="as which files")


def run(args: argparse.Namespace) -> int:
    """Runs the command's step on the data set; prints what became of its rows."""
    if not args.out:
        raise UserError(f"boostqa {args.command} FILE needs --out DIR: the folder for its rows, each with a verdict")
    what = f"{args.command} {args.file if _is_table(args.file) else absolute(args.file)}"
    output = Output(absolute(args.out).rstrip("/"), args.out_format, what)
    for data in (args.file, *getattr(args, "against", ())):
        _check_apart(data, output)
    _check_output(output)
    config, steps = config_of(args, output), STEPS[args.command](output)
    with Screen() as screen:
        screen.start("checking the inputs")
        check_before(config, steps)
        for source in config.curate.decontaminate.against:
            check_local_path(source, "--against")
        screen.start("starting Spark")
        finished = run_pipeline(get_spark(), config, steps, screen)
    print(told(args.command, finished.steps[-1], output))
    return 0


def config_of(args: argparse.Namespace, output: Output) -> Config:
    """Builds the configuration: the base, a profile where one is named, `--set`, and the data set as the only source.

    Raises UserError.
    """
    source = source_of(args.file, args.text_field, args.format, args.encoding)
    work = f"{output.folder}/{WORK}/{stable_id(json.dumps(source))[:12]}"
    nowhere = {"catalog": None, "schema": None, "files": None}
    fixed: dict[str, Any] = {"sources": [source], "mlflow.enabled": False, "tables": {"warehouse": work, **nowhere}}
    fixed["ingest.max_passage_tokens"] = NEVER_CUT
    # What comes out hangs on the data set alone, not on what it was when it was last looked at.
    fixed["dedup.incremental"] = False
    if args.command != "decontaminate":
        fixed["curate.decontaminate.against"] = []
    elif args.against:
        field = args.against_field or args.text_field
        fixed["curate.decontaminate.against"] = _named([source_of(path, field) for path in args.against])
    # No step here asks a model, but a configuration names some.
    models = dict.fromkeys(("teacher", "refiner", "annotator", "judge"), MODEL)
    silent = {} if args.conf else {"llm.endpoint": "stand-in", "llm.models": models}
    first, last = ([f"{key}={json.dumps(value)}" for key, value in sets.items()] for sets in (silent, fixed))
    config = load_config(args.conf, [*first, *args.sets, *last])
    if args.command == "decontaminate" and not config.curate.decontaminate.against:
        raise UserError("decontaminate FILE needs --against FILE, or --conf with curate.decontaminate.against")
    return config


def source_of(path: str, field: str, format: str = "auto", encoding: str = "utf-8") -> dict[str, Any]:
    """Describes a file as the config does a source."""
    name = PurePosixPath(path).name.split(".")[0] or "data"
    told = {"name": name, "path": path, "format": format, "encoding": encoding, "license": "unstated"}
    return {**told, "fields": {"text": field}}


def _named(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = [source["name"] for source in sources]
    return [
        {**source, "name": name if names.count(name) == 1 else f"{name}-{n}"}
        for n, (source, name) in enumerate(zip(sources, names, strict=True), 1)
    ]


def _check_apart(data: str, output: Output) -> None:
    """Raises UserError where one run would read what it writes, or delete what it reads."""
    if _is_table(data):
        return
    if covers(absolute(data), output.folder):
        raise UserError(f"--out {output.folder} lies inside of {data}: name a folder elsewhere")
    if any(file.uri.startswith(f"{output.folder}/") for file in find_files(absolute(data))):
        raise UserError(f"{data} lies inside of --out {output.folder}, whose files are replaced: name another folder")


def _is_table(data: str) -> bool:
    """Tells whether a data set is `catalog.schema.table`."""
    return "/" not in data and data.count(".") == 2 and not exists(data)


def _check_output(output: Output) -> None:
    """Raises UserError for a folder that has something else in it than what this command has made of this data set."""
    manifest = manifest_in(output.folder)
    if manifest is not None and manifest["what"] != output.what:
        raise UserError(
            f"--out {output.folder} holds the rows of another command, {manifest['what']}: name a new folder"
        )
    mine = manifest is not None or exists(f"{output.folder}/{WORK}")
    if not mine and exists(output.folder) and list_files(output.folder):
        raise UserError(f"--out {output.folder} has files in it that are not of an earlier run: name a new folder")


def told(command: str, ran: Ran, output: Output) -> str:
    """Words what became of the rows, and where they are."""
    outcome = ran.outcome
    what = {"measure": "measured"}.get(command, "kept")
    lost = f" ({reasons(outcome.dropped)})" if outcome.dropped else ""
    lines = [f"{outcome.rows_in:,} rows: {outcome.rows_out:,} {what}, {sum(outcome.dropped.values()):,} not{lost}"]
    if outcome.figures.get("audit_pairs"):
        recall, pairs = outcome.figures["audit_recall"], outcome.figures["audit_pairs"]
        lines.append(f"pairs found by their meaning: {recall:.3f} of {pairs:,.0f}, by brute force on sampled rows")
    lines.append(f"each row with its verdict: {output.folder}/{ROWS}/part-*.{output.kind}")
    work = shlex.quote(f"{output.folder}/{WORK}")
    return "\n".join([*lines, f"kept for another try on the same data: {work} (rm -r when you are done)"])
