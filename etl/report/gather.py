"""Takes the figures of a report from the tables: a dozen small aggregates, each bounded in size."""

from __future__ import annotations

from dataclasses import replace

from etl.config import Config
from etl.report import checks, content, flow
from etl.report.figures import CellMap, Facts, Figures
from etl.report.history import NOTHING, LastRun, last_made, last_run
from etl.tables import Tables
from etl.taxonomy_file import read_taxonomy
from etl.version import __version__

SHOWN_MAPS = ("seeds", "deficiency", "planned_tokens", "questions")


def gather(tables: Tables, config: Config) -> Figures:
    """Returns the figures of the warehouse as it is now. Raises UserError when no run is recorded in it."""
    run, made = last_run(tables), last_made(tables)
    counted = flow.fates(tables, config, made)
    pairs = checks.nearest_pairs(tables, made)
    sample = content.sample(tables, made)
    wanted = (
        flow.example_ids(counted) | {p[side] for p in pairs for side in ("a_id", "b_id")} | {q.seed_id for q in sample}
    )
    texts = content.texts_of(tables, wanted)
    taxonomy = read_taxonomy(config)
    maps = content.cell_maps(tables, config, taxonomy, made)
    calls = checks.calls(tables, run.run_id)
    funnel = flow.funnel(counted, made)
    reasons = flow.reasons(counted, funnel, texts)
    return Figures(
        facts=_facts(config, run, funnel[-1].rows or 0, maps["exported_tokens"]),
        funnel=funnel,
        reasons=tuple(reason for reason in reasons if reason.stage != "documents"),
        quarantine=tuple(reason for reason in reasons if reason.stage == "documents"),
        maps=tuple(maps[kind] for kind in SHOWN_MAPS),
        diversity=content.diversity(tables, made.get("inputs_id", NOTHING).id),
        dedups=checks.dedups(tables, pairs, made, config, texts),
        calls=calls,
        call_errors=checks.call_errors(tables) if any(c.failed for c in calls) else (),
        steps=run.steps,
        unreadable=checks.unreadable(tables, config.embed),
        benchmarks=checks.benchmarks(tables, config),
        sample=tuple(replace(q, seed=texts[q.seed_id].text) if q.seed_id in texts else q for q in sample),
        names={d.id: d.name_en for d in taxonomy.disciplines},
    )


def _facts(config: Config, run: LastRun, rows: int, tokens: CellMap) -> Facts:
    where = config.tables.warehouse or f"{config.tables.catalog}.{config.tables.schema_name}"
    return Facts(
        name=config.run.name,
        run_id=run.run_id,
        finished=run.finished,
        seconds=sum(step.seconds for step in run.steps),
        warehouse=where,
        version=__version__,
        embedding_model=config.embed.model,
        exported_rows=rows,
        exported_tokens=int(sum(tokens.cells.values())),
    )
