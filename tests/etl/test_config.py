"""The configuration: what is refused and how, how the layers are merged, and that conf/base.yaml tells of every setting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from etl.config import Config, PriceConfig, SourceConfig, load_config, packaged
from etl.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LOCAL = str(ROOT / "conf" / "local.yaml")
BASE = packaged("base.yaml")
SOURCE = {"name": "s", "path": "p", "license": "CC0-1.0"}


@dataclass(frozen=True)
class Setting:
    """A leaf of the configuration by its dotted path, as `dedup.threshold`."""

    path: str
    annotation: Any


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yields every section that is not an item of a list or a mapping, with its dotted path."""
    yield path, model
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation, f"{path}.{field.alias or name}".lstrip("."))


def settings() -> Iterator[Setting]:
    for path, model in sections(Config):
        for name, field in model.model_fields.items():
            if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
                yield Setting(f"{path}.{field.alias or name}".lstrip("."), field.annotation)


def keys(tree: dict[str, Any], leaves: set[str], path: str = "") -> Iterator[str]:
    """Yields the dotted path of every setting in a YAML tree; what stands below a setting is its value."""
    for key, value in tree.items():
        here = f"{path}.{key}".lstrip(".")
        if here in leaves or not isinstance(value, dict):
            yield here
        else:
            yield from keys(value, leaves, here)


def refusal(sets: list[str], profile: str | None = LOCAL) -> str:
    with pytest.raises(UserError) as caught:
        load_config(profile, sets)
    assert "\n" not in str(caught.value), "one line"
    return str(caught.value)


def profile(folder: Path, text: str | bytes) -> str:
    path = folder / "profile.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def value_of(config: BaseModel, path: str) -> Any:
    tree: Any = config.model_dump(by_alias=True)
    for part in path.split("."):
        tree = tree[part]
    return tree


# --- conf/base.yaml tells of every setting


def test_base_yaml_has_every_setting_and_no_other() -> None:
    known = [setting.path for setting in settings()]
    assert len(known) > 80
    assert sorted(keys(yaml.safe_load(BASE), set(known))) == sorted(known)


def test_base_yaml_shows_every_key_of_a_source() -> None:
    block = re.search(r"^sources: \[\].*\n((?:#.*\n)+)", BASE, re.MULTILINE)
    assert block is not None
    (shown,) = yaml.safe_load(re.sub(r"^#", "", block.group(1), flags=re.MULTILINE))
    assert set(shown) == set(SourceConfig.model_fields)
    assert SourceConfig.model_validate(shown).columns == []


def test_base_yaml_shows_every_key_of_a_price() -> None:
    line = next(line for line in BASE.splitlines() if line.strip().startswith("prices:"))
    assert set(re.findall(r"(\w+): \.\.\.", line)) == set(PriceConfig.model_fields)


def test_code_has_no_default_of_its_own() -> None:
    """A default in two places would drift apart; only the items of `sources` have theirs in the code."""
    for path, model in sections(Config):
        assert [name for name, field in model.model_fields.items() if not field.is_required()] == [], path


# --- what is refused, and that the message names it


@pytest.mark.parametrize("path", [path for path, _ in sections(Config)])
def test_an_unknown_key_is_named_at_every_level(path: str) -> None:
    key = f"{path}.no_such_key".lstrip(".")
    message = refusal([f"{key}=1"])
    assert message.startswith(f"{key}: is not a setting")
    assert "conf/base.yaml" in message


def test_an_unknown_key_of_a_source_is_named() -> None:
    message = refusal([f"sources=[{yaml.safe_dump({**SOURCE, 'lisence': 'x'}, default_flow_style=True).strip()}]"])
    assert message.startswith("sources.0.lisence: is not a setting")


def test_an_unknown_key_of_a_price_is_named() -> None:
    assert "llm.prices.m.promt: is not a setting" in refusal(["llm.prices.m={promt: 1, completion: 1}"])


@pytest.mark.parametrize("setting", list(settings()), ids=lambda setting: setting.path)
def test_a_wrong_type_is_named(setting: Setting) -> None:
    takes_list = getattr(setting.annotation, "__origin__", None) is list
    wrong = "5" if takes_list or getattr(setting.annotation, "__origin__", None) is dict else "[[1]]"
    assert refusal([f"{setting.path}={wrong}"]).startswith(f"{setting.path}: ")


@pytest.mark.parametrize(
    "assignment",
    ["run.seed=true", "run.seed=1.5", "dedup.threshold='0.9'", "mlflow.enabled=1", "embed.model=5", "sources=[[1]]"],
)
def test_no_value_is_taken_for_one_of_another_type(assignment: str) -> None:
    assert assignment.partition("=")[0] in refusal([assignment])


@pytest.mark.parametrize("path", [path for path, _ in sections(Config) if path])
def test_a_section_that_is_not_one_is_named(path: str) -> None:
    assert refusal([f"{path}=5"]).startswith(f"{path}: ")


def test_a_choice_tells_what_there_is_to_choose() -> None:
    message = refusal(["curate.personal_data=remove"])
    for choice in ("flag", "redact", "off"):
        assert choice in message


@pytest.mark.parametrize(
    "assignment",
    [
        "dedup.threshold=1.5",
        "dedup.threshold=0",
        "llm.workers=0",
        "llm.budget.max_requests=0",
        "llm.rpm=-1",
        "curate.decontaminate.ngram_words=1",
    ],
)
def test_a_number_out_of_its_range_is_named(assignment: str) -> None:
    assert refusal([assignment]).startswith(assignment.partition("=")[0])


def test_several_errors_are_one_line_with_a_count() -> None:
    message = refusal(["run.seed=x", "dedup.probes=x", "dedup.nothing=1"])
    assert message.startswith("dedup.nothing: "), "a misspelt key first: the true one may be missing because of it"
    assert "(2 more)" in message


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["tables.catalog=main", "tables.schema=s"], "either `tables.warehouse`, or both"),
        (["tables.warehouse=null"], "either `tables.warehouse`, or both"),
        (["tables.warehouse=null", "tables.catalog=main", "tables.schema=s"], "`tables.files`"),
        (["llm.endpoint=urls"], "`llm.base_urls` is empty"),
        (["llm.batch=true", "llm.write_ahead=false"], "`llm.batch` needs `llm.write_ahead`"),
        (["llm.batch=true", "llm.endpoint=transformers"], "models in the workers have no Batch API"),
        (
            ["llm.batch=true", "llm.endpoint=urls", "llm.base_urls=['https://a/v1', 'https://b/v1']"],
            "a batch is at one endpoint",
        ),
        (["refine.params.n=4"], "refine.params: n: not for `params`"),
        (["measure.cluster_agent.params={stream: true}"], "stream: not for `params`"),
        (["refine.params.max_tokens='many'"], "max_tokens is 'many': give a whole number"),
        (["llm.models.teacher=gpt-4.1"], "gives placeholders, not answers of gpt-4.1"),
        (["probe.model=student"], "`probe.model` is student"),
        ([f"sources=[{SOURCE}, {SOURCE}]".replace("'", "")], "two sources are named s"),
        ([f"curate.decontaminate.against=[{SOURCE}, {SOURCE}]".replace("'", "")], "two benchmarks are named s"),
        (["sources=[{name: s, path: p}]"], "sources.0.license"),
        ([f"sources=[{SOURCE | {'encoding': 'utf9'}}]".replace("'", "")], "'utf9' is no text codec"),
        (["dedup.priority=[qualty]"], "dedup.priority.0: "),
        (["embed.device=gpu"], "embed.device: "),
        (["embed.precision=int8"], "embed.precision: "),
        (["embed.windows=last"], "embed.windows: "),
        (["embed.batch_size=64"], "embed.batch_size: is not a setting"),
        (["plan.level_weights={1: -1}"], "plan.level_weights.1: "),
        (["llm.api_key_env=sk-abc123"], "the name of an environment variable"),
        (["llm.base_urls=['https://me:secret@host/v1']"], "put the key into an environment variable"),
        (["llm.base_urls=['http://example.org/v1']"], "use https"),
        (["llm.base_urls=['localhost:8000']"], "not an address like"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(sets: list[str], words: str) -> None:
    message = refusal(sets)
    assert words in message
    assert "Value error" not in message, "pydantic's own words"


@pytest.mark.parametrize("sets", [["llm.api_key_env=sk-abc123"], ["llm.base_urls=['https://me:abc123@host/v1']"]])
def test_a_key_in_the_wrong_place_is_not_repeated(sets: list[str]) -> None:
    assert "abc123" not in refusal(sets)


# --- files


def test_a_missing_file_is_named() -> None:
    assert refusal([], "no/such.yaml") == "--conf no/such.yaml: there is no such file"


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal([], str(tmp_path))


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = profile(tmp_path, "run: {name: 中文}".encode("gbk"))
    assert refusal([], path) == f"--conf {path}: the file is not UTF-8 text"


def test_bad_yaml_is_told_with_file_and_line(tmp_path: Path) -> None:
    path = profile(tmp_path, "run:\n  name: a\n  seed: [1\n")
    message = refusal([], path)
    assert path in message
    assert "line 4" in message


def test_a_profile_that_is_a_list_is_refused(tmp_path: Path) -> None:
    path = profile(tmp_path, "- run\n")
    assert refusal([], path) == f"{path} must hold `key: value` settings, not a list"


def test_an_empty_profile_is_the_base(tmp_path: Path) -> None:
    sets = ["llm.base_urls=[https://api.example.com/v1]"]
    assert load_config(profile(tmp_path, "# nothing\n"), sets) == load_config(None, sets)


# --- layers


def test_base_then_profile_then_set(tmp_path: Path) -> None:
    path = profile(tmp_path, "llm: {base_urls: [https://api.example.com/v1], max_in_flight: 7, workers: 3}\n")
    config = load_config(path, ["llm.workers=5", "llm.workers=4"])
    assert (config.llm.workers, config.llm.max_in_flight) == (4, 7)
    assert config.llm.max_attempts == yaml.safe_load(BASE)["llm"]["max_attempts"]


def test_a_list_replaces_and_a_mapping_is_merged() -> None:
    config = load_config(LOCAL, [f"sources=[{SOURCE}]".replace("'", ""), "refine.params={top_p: 0.9}"])
    assert [source.name for source in config.sources] == ["s"]
    assert config.refine.params == {"temperature": 0.2, "max_tokens": 2000, "top_p": 0.9}


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("dedup.threshold=0.8", 0.8),
        ("run.name=a=b", "a=b"),
        ("run.name='12'", "12"),
        ("llm.budget.max_cost=null", None),
        ("llm.budget.max_cost=", None),
        ("mlflow.enabled=false", False),
        ("measure.scopes=[all, cell]", ["all", "cell"]),
        (" run.seed = 5", 5),
        ("plan.level_weights.5=9", {1: 1.0, 2: 1.0, 3: 1.0, 4: 2.0, 5: 9.0}),
    ],
)
def test_set_values_are_yaml(assignment: str, value: object) -> None:
    path = assignment.partition("=")[0].strip().removesuffix(".5")
    assert value_of(load_config(LOCAL, [assignment]), path) == value


@pytest.mark.parametrize("assignment", ["run.seed", "=5", "  =5"])
def test_set_without_key_and_value_is_refused(assignment: str) -> None:
    assert refusal([assignment]) == f"--set {assignment}: write it as --set section.key=value"


def test_set_with_bad_yaml_is_refused() -> None:
    assert refusal(["run.name=[a"]).startswith("--set run.name: the value is not valid YAML")


# --- what a configuration is


def test_a_configuration_is_frozen() -> None:
    config = load_config(LOCAL)
    with pytest.raises(ValueError, match="frozen"):
        config.run.seed = 1


def test_there_is_no_place_for_a_secret() -> None:
    """Keys come by environment variable: the configuration holds the variable's name, so it may be printed and stored."""
    doubtful = [s.path for s in settings() if re.search(r"key|secret|password|credential", s.path)]
    assert doubtful == ["llm.api_key_env"]


def test_the_environment_never_enters_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret")
    config = load_config(LOCAL)
    assert "a-secret" not in config.model_dump_json()
    assert "a-secret" not in repr(config)


def test_equal_settings_have_an_equal_fingerprint_and_others_not() -> None:
    here, same = load_config(LOCAL), load_config(LOCAL, ["mlflow.enabled=false"])
    other = load_config(LOCAL, ["dedup.threshold=0.8"])
    assert here.fingerprint("dedup", "run") == same.fingerprint("dedup", "run")
    assert here.fingerprint("dedup", "run") != other.fingerprint("dedup", "run")
    assert here.fingerprint("embed") == other.fingerprint("embed")
