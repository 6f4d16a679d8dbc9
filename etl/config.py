"""The configuration: typed, frozen, unknown keys refused. YAML base, then a profile, then `--set a.b=c`."""

from __future__ import annotations

import hashlib
import json
import re
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from etl.errors import UserError
from etl.readers.record import AUTO, is_encoding
from udfs.engines.endpoints import url_problem
from udfs.engines.teacher_rules import MODEL as STAND_IN


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


# What of a request is not for the config to say: an answer is one, whole, and by the model that `llm.models` names.
NO_PARAMS = ("best_of", "messages", "model", "n", "stream")
LENGTHS = ("max_tokens", "max_completion_tokens")


def sampling_params(given: dict[str, Any]) -> dict[str, Any]:
    """Returns parameters of a request as they are. Raises ValueError for one that would change what is asked, or break what a budget reserves."""
    refused = sorted(set(given) & set(NO_PARAMS))
    if refused:
        raise ValueError(f"{', '.join(refused)}: not for `params`, every request asks one model for one whole answer")
    for name in LENGTHS:
        length = given.get(name)
        if length is not None and (type(length) is not int or length < 1):
            raise ValueError(f"{name} is {length!r}: give a whole number of tokens from 1 on, or null")
    return given


Params = Annotated[dict[str, Any], AfterValidator(sampling_params)]


class RunConfig(Section):
    name: str
    seed: int


class TablesConfig(Section):
    """Where the Delta tables are: a folder (`warehouse`), or `catalog` and `schema`; `files` is for segments, locks and scratch."""

    warehouse: str | None
    catalog: str | None
    schema_name: str | None = Field(alias="schema")
    files: str | None

    @model_validator(mode="after")
    def _one_place(self) -> TablesConfig:
        if bool(self.warehouse) == bool(self.catalog and self.schema_name):
            raise ValueError("give either `tables.warehouse`, or both `tables.catalog` and `tables.schema`")
        if not self.warehouse and not self.files:
            raise ValueError("with `tables.catalog` give `tables.files` too: a folder on shared storage")
        return self


def known_encoding(name: str) -> str:
    """Returns the name of a text codec as it is. Raises ValueError for one that Python does not know."""
    if not is_encoding(name):
        raise ValueError(f"'{name}' is no text codec of Python, such as gb18030, nor {AUTO}")
    return name


class SourceConfig(Section):
    name: str
    path: str
    format: Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "markdown", "text", "html", "warc", "delta"] = (
        "auto"
    )
    fields: dict[str, str | list[str]] = {}
    license: str
    encoding: Annotated[str, AfterValidator(known_encoding)] = "utf-8"
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    columns: list[str] = []
    markup: Literal["none", "html", "markdown"] = "none"
    records: str | None = None


class IngestConfig(Section):
    tokenizer: str
    max_passage_tokens: int = Field(gt=0)
    max_record_bytes: int = Field(gt=0)


class MinHashConfig(Section):
    threshold: float = Field(gt=0, le=1)
    bands: int = Field(gt=0)
    rows: int = Field(gt=0)


class DecontaminateConfig(Section):
    against: list[SourceConfig]
    ngram_words: int = Field(gt=1)
    ngram_chars: int = Field(gt=1)


class QualityConfig(Section):
    min_units: int = Field(ge=0)
    min_units_unspaced: int = Field(ge=0)
    max_symbol_share: float = Field(ge=0, le=1)
    max_repeated_10_share: float = Field(ge=0, le=1)


class CurateConfig(Section):
    quality: QualityConfig
    personal_data: Literal["flag", "redact", "off"]
    minhash: MinHashConfig
    decontaminate: DecontaminateConfig


class ModelsConfig(Section):
    teacher: str
    refiner: str
    annotator: str
    judge: str


class LimitsConfig(Section):
    """Ceilings of one step; what is not said has none."""

    max_requests: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, gt=0)


class BudgetConfig(LimitsConfig):
    """The run's ceilings, and those of single steps within them."""

    max_requests: int | None = Field(ge=1)
    max_tokens: int | None = Field(ge=1)
    max_cost: float | None = Field(gt=0)
    steps: dict[Literal["annotate", "probe", "synthesize", "refine", "measure"], LimitsConfig]


class PriceConfig(Section):
    """Money per million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


# Values of `llm.endpoint` that need no server.
IN_WORKERS = ("transformers", "vllm")


class LlmConfig(Section):
    """Where answers come from: `endpoint: urls` asks at `base_urls`, `stand-in` starts the stand-in teacher, IN_WORKERS run the models in the workers.

    With `batch`, the first two are asked by their Batch API.
    """

    endpoint: Literal["urls", "stand-in", "transformers", "vllm"]
    models: ModelsConfig
    base_urls: list[str]
    api_key_env: str
    workers: int = Field(gt=0)
    max_in_flight: int = Field(gt=0)
    rpm: int = Field(ge=0)
    tpm: int = Field(ge=0)
    request_timeout_s: float = Field(gt=0)
    deadline_s: float = Field(gt=0)
    max_attempts: int = Field(gt=0)
    bad_answers: int = Field(ge=0)
    json_schema: bool
    wave_requests: int = Field(gt=0)
    write_ahead: bool
    device: str
    batch_size: int | None = Field(gt=0)
    vllm: dict[str, Any]
    batch: bool
    batch_requests: int = Field(gt=0, le=50_000)
    batch_poll_s: float = Field(gt=0)
    flush_rows: int = Field(gt=0)
    flush_seconds: float = Field(gt=0)
    budget: BudgetConfig
    prices: dict[str, PriceConfig]

    @model_validator(mode="after")
    def _urls(self) -> LlmConfig:
        if self.endpoint == "urls" and not self.base_urls:
            raise ValueError(
                "`llm.base_urls` is empty: name an OpenAI-compatible endpoint, or set `llm.endpoint: stand-in`"
            )
        problem = next(filter(None, map(url_problem, self.base_urls)), None)
        if problem:
            raise ValueError(f"`llm.base_urls`: {problem}")
        return self

    @model_validator(mode="after")
    def _batches(self) -> LlmConfig:
        if self.batch and self.endpoint in IN_WORKERS:
            raise ValueError("`llm.batch` is for `llm.endpoint: urls`: models in the workers have no Batch API")
        if self.batch and not self.write_ahead:
            raise ValueError("`llm.batch` needs `llm.write_ahead`: workers write down what they have handed in")
        if self.batch and self.endpoint == "urls" and len(self.base_urls) > 1:
            raise ValueError("with `llm.batch` give one address in `llm.base_urls`: a batch is at one endpoint")
        return self

    @model_validator(mode="after")
    def _key_is_a_name(self) -> LlmConfig:
        # Without the value: it may be the key itself.
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.api_key_env):
            raise ValueError(
                "`llm.api_key_env` is the name of an environment variable, in capitals; never the key itself"
            )
        return self


class AnnotateConfig(Section):
    taxonomy: str
    annotator: Literal["zero_shot", "llm"]
    fallback: Literal["llm", "none"]
    min_score: float = Field(ge=-1, le=1)
    params: Params


class ProbeConfig(Section):
    questions: int = Field(ge=0)
    model: str | None
    params: Params


class BranchShares(Section):
    multi_grade: float = Field(ge=0)
    high_difficulty: float = Field(ge=0)


class PlanConfig(Section):
    total_tokens: int = Field(gt=0)
    stem_weight: float = Field(gt=0)
    # Keys of JSON and of --set are always strings.
    level_weights: dict[Annotated[int, Field(strict=False, ge=1, le=5)], Annotated[float, Field(ge=0)]]
    floor_share: float = Field(ge=0, le=1)
    shrinkage: float = Field(ge=0)
    branch_shares: BranchShares


class SynthesizeConfig(Section):
    tokens_per_question: int = Field(gt=0)
    questions_per_request: int = Field(gt=0)
    max_seed_uses: int = Field(gt=0)
    params: Params


class RefineConfig(Section):
    params: Params


class VerifyConfig(Section):
    min_quality: float = Field(ge=0, le=1)
    max_difficulty_drop: int = Field(ge=0)


class EmbedConfig(Section):
    model: str
    device: str = Field(pattern=r"^(auto|cpu|mps|xpu(:\d+)?|cuda(:\d+)?)$")
    precision: Literal["auto", "float32", "bfloat16"]
    windows: Literal["first", "mean"]
    batch_tokens: int | None = Field(gt=0)
    max_unknown_share: float = Field(ge=0, le=1)


class DedupConfig(Section):
    threshold: float = Field(gt=0, le=1)
    cluster_size: int = Field(gt=1)
    probes: int = Field(gt=0)
    priority: list[Literal["quality", "difficulty", "length"]]
    sample_rows: int = Field(gt=0)
    max_drift: float = Field(ge=0)
    incremental: bool
    survivors: Literal["greedy", "components"]
    max_driver_edges: int = Field(ge=0)
    audit_rows: int = Field(ge=0)


class ClusterAgentConfig(Section):
    """The LLM cluster agent; `rounds: 0` switches it off."""

    rounds: int = Field(ge=0)
    samples: int = Field(gt=1)
    criteria_samples: int = Field(gt=0)
    items: list[Literal["documents", "qa"]] = Field(min_length=1)
    max_text_chars: int = Field(gt=0)
    params: Params


class MeasureConfig(Section):
    scopes: list[Literal["all", "discipline", "difficulty", "cell", "source", "branch"]]
    groups: int = Field(gt=1)
    cluster_agent: ClusterAgentConfig


class SelectConfig(Section):
    total_tokens: int = Field(gt=0)
    cells: Literal["plan", "uniform"]


class ExportConfig(Section):
    path: str | None
    formats: list[Literal["jsonl.zst", "parquet"]]
    template: str


class MlflowConfig(Section):
    enabled: bool
    tracking_uri: str | None
    experiment: str


class Config(Section):
    """The whole configuration; `conf/base.yaml` lists and explains every key."""

    run: RunConfig
    tables: TablesConfig
    sources: list[SourceConfig]
    ingest: IngestConfig
    curate: CurateConfig
    llm: LlmConfig
    annotate: AnnotateConfig
    probe: ProbeConfig
    plan: PlanConfig
    synthesize: SynthesizeConfig
    refine: RefineConfig
    verify: VerifyConfig
    embed: EmbedConfig
    dedup: DedupConfig
    measure: MeasureConfig
    select: SelectConfig
    export: ExportConfig
    mlflow: MlflowConfig

    @model_validator(mode="after")
    def _source_names(self) -> Config:
        for kind, named in (("sources", self.sources), ("benchmarks", self.curate.decontaminate.against)):
            names = [source.name for source in named]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(
                    f"two {kind} are named {', '.join(twice)}: names are part of every key, give each its own"
                )
        return self

    @model_validator(mode="after")
    def _placeholders_are_named(self) -> Config:
        # A request is known by the model it names: under another name, a placeholder would be taken for that model's answer for ever.
        if self.llm.endpoint == "stand-in":
            named = {f"llm.models.{role}": name for role, name in self.llm.models} | {"probe.model": self.probe.model}
            key, name = next(((k, n) for k, n in named.items() if n not in (None, STAND_IN)), ("", ""))
            if key:
                every = ", ".join(f"{role}: {STAND_IN}" for role, _ in self.llm.models)
                raise ValueError(
                    f"`{key}` is {name}, but `llm.endpoint: stand-in` gives placeholders, not answers of {name}: "
                    f"set `llm.models={{{every}}}`, or `llm.endpoint: urls`"
                )
        return self

    def fingerprint(self, *paths: str) -> str:
        """Hashes the named settings (`dedup`, `llm.models`): equal settings give an equal hash on every machine."""
        dumped = self.model_dump(mode="json", by_alias=True)
        picked = {path: reduce(lambda part, key: part[key], path.split("."), dumped) for path in paths}
        return hashlib.sha256(json.dumps(picked, sort_keys=True).encode()).hexdigest()[:32]


def packaged(name: str) -> str:
    """Returns the text of a file of `conf/` as it travels with the package."""
    return (files("etl") / "conf" / name).read_text(encoding="utf-8")


class _OneOfEach(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds one mapping."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        loaded = yaml.load(text, Loader=_OneOfEach)
    except yaml.YAMLError as err:
        raise UserError(f"{name} is not valid YAML: {' '.join(str(err).split())}") from err
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UserError(f"{name} must hold `key: value` settings, not a {type(loaded).__name__}")
    return loaded


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _assignment(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: write it as --set section.key=value")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as err:
        raise UserError(f"--set {key}: the value is not valid YAML: {' '.join(str(err).split())}") from err
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return dict(parsed)


def _first_error(err: ValidationError) -> str:
    # An unknown key first: a misspelt one is also missing.
    first = min(err.errors(), key=lambda error: error["type"] != "extra_forbidden")
    where = ".".join(str(p) for p in first["loc"]) or "the configuration"
    unknown = "is not a setting (see conf/base.yaml for all of them)"
    what = unknown if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    more = f" ({err.error_count() - 1} more)" if err.error_count() > 1 else ""
    return f"{where}: {what}{more}"


def load_config(profile: str | None, sets: list[str] | None = None) -> Config:
    """Builds the configuration from the packaged base, a profile file and `--set` assignments, in this order.

    Raises UserError that names the file or the key when something is wrong.
    """
    merged = _parse(packaged("base.yaml"), "conf/base.yaml")
    if profile is not None:
        path = Path(profile)
        if not path.is_file():
            raise UserError(f"--conf {profile}: there is no such file")
        try:
            merged = _merge(merged, _parse(path.read_text(encoding="utf-8"), profile))
        except UnicodeDecodeError as err:
            raise UserError(f"--conf {profile}: the file is not UTF-8 text") from err
    for text in sets or []:
        merged = _merge(merged, _assignment(text))
    try:
        return Config.model_validate(merged)
    except ValidationError as err:
        raise UserError(_first_error(err)) from err
