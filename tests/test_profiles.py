"""The profiles in conf/: each loads, says only what differs from the base, and holds no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from etl.config import load_config, packaged
from udfs.engines.endpoints import is_loopback

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("local", "openai", "vllm", "ollama", "databricks", "emr")
BASE: dict[str, Any] = yaml.safe_load(packaged("base.yaml"))
EXAMPLES = re.compile(r"\byour-|\bmain\b|s3://|/Volumes/")


def path_of(name: str) -> Path:
    return ROOT / "conf" / f"{name}.yaml"


def differences(over: dict[str, Any], base: dict[str, Any], at: str = "") -> Iterator[tuple[str, bool]]:
    """Yields each setting of a profile and whether it differs from the base."""
    for key, value in over.items():
        here = f"{at}.{key}".lstrip(".")
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            yield from differences(value, base[key], here)
        else:
            yield here, value != base.get(key)


def test_there_is_no_profile_without_a_test() -> None:
    assert {path.stem for path in (ROOT / "conf").glob("*.yaml")} == {*NAMES, "base", "taxonomy"}


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_loads(name: str) -> None:
    config = load_config(str(path_of(name)))
    assert config.sources
    assert config.run.name != BASE["run"]["name"], "MLflow shows runs by this name"


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_says_only_what_differs_from_the_base(name: str) -> None:
    profile = yaml.safe_load(path_of(name).read_text("utf-8"))
    allowed = {"tables.warehouse"} if name == "local" else set()  # shown there because everyone looks for it
    same = {setting for setting, differs in differences(profile, BASE) if not differs}
    assert same <= allowed


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_begins_by_saying_what_it_is_for(name: str) -> None:
    assert re.match(r"# [A-Z].{30}", path_of(name).read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_holds_no_secret(name: str) -> None:
    text = path_of(name).read_text("utf-8")
    assert not re.search(r"\bsk-\w|AKIA[0-9A-Z]{8}|dapi[0-9a-f]{8}|password", text)


@pytest.mark.parametrize("name", ["openai", "vllm", "ollama"])
def test_an_endpoint_profile_runs_on_the_samples_as_it_is(name: str) -> None:
    config = load_config(str(path_of(name)))
    assert config.llm.endpoint == "urls"
    assert all((ROOT / source.path).exists() for source in config.sources)
    assert config.tables.warehouse == f"out/{name}", "git ignores out/"
    assert config.plan.total_tokens == config.select.total_tokens <= 4000, "a first run is small"


def test_a_hosted_endpoint_has_a_budget_and_own_servers_need_none() -> None:
    assert load_config(str(path_of("openai"))).llm.budget.max_requests == 200
    for name in ("vllm", "ollama"):
        config = load_config(str(path_of(name)))
        assert all(is_loopback(url) for url in config.llm.base_urls)
        assert config.llm.budget.max_requests is None


@pytest.mark.parametrize("name", ["databricks", "emr"])
def test_a_cluster_profile_names_shared_storage_only(name: str) -> None:
    config = load_config(str(path_of(name)))
    tables = config.tables
    for address in filter(
        None, [tables.warehouse, tables.files, config.export.path, *[s.path for s in config.sources]]
    ):
        assert address.startswith(("/Volumes/", "s3://")), address
    assert all(EXAMPLES.search(address) for address in [*config.llm.base_urls, *[s.path for s in config.sources]])
    assert not any(is_loopback(url) for url in config.llm.base_urls), "executors cannot reach the driver's localhost"
    assert config.llm.budget.max_requests


def test_databricks_has_a_catalog_and_a_volume_for_files() -> None:
    tables = load_config(str(path_of("databricks"))).tables
    assert (tables.catalog, tables.schema_name) == ("main", "boostqa")
    assert tables.files
