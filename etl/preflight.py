"""What can be known before the first step writes or pays anything: are the inputs there, does the endpoint answer, are the packages installed."""

from __future__ import annotations

from importlib.util import find_spec

from etl.budget import check_prices
from etl.config import Config, SourceConfig
from etl.engines import engine_spec
from etl.errors import UserError
from etl.step import Step
from etl.taxonomy_file import read_taxonomy
from etl.templates import TEMPLATES
from udfs.engines.endpoints import probe_endpoint
from udfs.listing import find_files
from udfs.storage import absolute
from udfs.tokens import token_counter

# What `llm.endpoint` needs, by the extra that brings it; the others ask by HTTP.
CLIENTS = {"transformers": {"transformers": "embed"}, "vllm": {"vllm": "vllm"}}


def check_before(config: Config, steps: list[Step]) -> None:
    """Raises the user's error (see `etl.failures.USER_ERRORS`) for the first thing that would stop these steps later.

    Cheap: needs no Spark and costs no money.
    """
    names = {step.name for step in steps}
    read_taxonomy(config)
    _check_packages(config, names)
    if "ingest" in names:
        if not config.sources:
            raise UserError("sources is empty: name at least one corpus under `sources` in the config")
        for source in config.sources:
            check_local_path(source, f"sources.{source.name}.path")
    if names & {"ingest", "select"}:
        token_counter(config.ingest.tokenizer)
    if "curate" in names:
        for source in config.curate.decontaminate.against:
            check_local_path(source, f"curate.decontaminate.against.{source.name}.path")
    if names & {"select", "export"} and config.export.template not in TEMPLATES:
        raise UserError(
            f"export.template: there is no template {config.export.template!r}; known are {', '.join(TEMPLATES)}"
        )
    models = models_of(config, names)
    if models:
        check_prices(config.llm, models)
    for model in models:
        check_endpoint(config, model)


def check_local_path(source: SourceConfig, setting: str) -> None:
    """Raises UserError when a local source matches no file. Other storages and Delta tables are listed by ingest, before it writes."""
    path = absolute(source.path)
    if source.format != "delta" and "://" not in path and not find_files(path):
        raise UserError(f"{setting}: {source.path} does not exist or matches no file (looked for {path})")


def models_of(config: Config, steps: set[str]) -> list[str]:
    """Returns the LLMs that these steps may ask."""
    models = config.llm.models
    used = {"probe": config.probe.model or models.judge, "synthesize": models.teacher, "refine": models.refiner}
    if "llm" in (config.annotate.annotator, config.annotate.fallback):
        used["annotate"] = models.annotator
    if config.measure.cluster_agent.rounds:
        used["measure"] = models.judge
    if config.probe.questions == 0:
        del used["probe"]
    return sorted({model for step, model in used.items() if step in steps})


def check_endpoint(config: Config, model: str) -> None:
    """Raises UserError when a configured endpoint does not answer, refuses the key, or does not serve the model."""
    if config.llm.endpoint != "urls":
        return
    problem = probe_endpoint(engine_spec(config.llm, config.llm.base_urls), model)
    if problem:
        raise UserError(f"llm endpoint: {problem}")


def _check_packages(config: Config, steps: set[str]) -> None:
    needed = {"mlflow": "track"} if config.mlflow.enabled else {}
    needed |= CLIENTS.get(config.llm.endpoint, {"openai": "llm", "aiohttp": "llm"}) if models_of(config, steps) else {}
    embeds = "embed" in steps or ("annotate" in steps and config.annotate.annotator == "zero_shot")
    needed |= {"sentence_transformers": "embed"} if embeds else {}
    needed |= {"faiss": "embed"} if "dedup" in steps else {}
    for module, extra in needed.items():
        if find_spec(module) is None:
            more = ", or set mlflow.enabled to false" if module == "mlflow" else ""
            raise UserError(f"the package {module} is not installed: pip install 'boostqa[{extra}]'{more}")
