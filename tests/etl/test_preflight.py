"""What is checked before the first step: only what the chosen steps need, each problem by the setting it comes from."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from etl.config import Config, SourceConfig
from etl.errors import UserError
from etl.pipeline import NAMES, chosen_steps
from etl.preflight import check_before, check_local_path, models_of
from tests.etl.tiny import NOWHERE, make_config, source

MODELS = {"teacher": "t", "refiner": "r", "annotator": "a", "judge": "j"}


def config_with(**sections: Any) -> Config:
    return make_config("warehouse", **sections)


def refusal(config: Config, steps: str) -> str:
    with pytest.raises(UserError) as caught:
        check_before(config, chosen_steps(steps))
    return str(caught.value)


@pytest.mark.parametrize(
    ("sections", "steps", "models"),
    [
        ({}, NAMES, ["a", "j", "r", "t"]),
        ({}, ("ingest", "curate", "embed", "dedup", "export"), []),
        ({}, ("refine", "synthesize"), ["r", "t"]),
        ({"probe": {"model": "student"}}, ("probe",), ["student"]),
        ({"probe": {"questions": 0}}, NAMES, ["a", "r", "t"]),
        ({}, ("measure",), []),
        ({"measure": {"cluster_agent": {"rounds": 20}}}, ("measure",), ["j"]),
        ({"annotate": {"fallback": "none"}}, NAMES, ["j", "r", "t"]),
        ({"annotate": {"annotator": "llm", "fallback": "none"}}, ("annotate",), ["a"]),
        ({"llm": {**NOWHERE, "models": dict.fromkeys(MODELS, "same")}}, NAMES, ["same"]),
    ],
)
def test_the_models_that_the_steps_may_ask(sections: dict[str, Any], steps: tuple[str, ...], models: list[str]) -> None:
    config = config_with(**{"llm": {**NOWHERE, "models": MODELS}, **sections})
    assert models_of(config, set(steps)) == models


def test_steps_that_read_no_source_need_none() -> None:
    check_before(config_with(), chosen_steps("export,measure"))
    assert refusal(config_with(), "ingest,export").startswith("sources is empty")


def test_a_ceiling_of_money_needs_the_price_of_the_model_that_is_probed_too() -> None:
    prices = {"stand-in": {"prompt": 1.0, "completion": 1.0}}
    llm = {**NOWHERE, "budget": {"max_cost": 1.0}, "prices": prices}
    config = config_with(llm=llm, probe={"model": "student"})
    assert refusal(config, "probe") == "llm.budget.max_cost is set, but llm.prices has no price for student"


def test_an_endpoint_is_asked_only_for_steps_that_use_it() -> None:
    config = config_with(llm=NOWHERE)
    check_before(config, chosen_steps("curate,select"))
    assert refusal(config, "refine").startswith("llm endpoint: http://127.0.0.1:9/v1 does not answer")


def test_a_template_matters_to_select_and_export_alone() -> None:
    config = config_with(export={"template": "fancy"})
    check_before(config, chosen_steps("curate,measure"))
    assert {refusal(config, step).partition(":")[0] for step in ("select", "export")} == {"export.template"}


def test_a_benchmark_that_is_not_there_is_named_by_its_setting(tmp_path: Path) -> None:
    against = [source("exam", tmp_path / "exam.jsonl")]
    config = config_with(curate={"decontaminate": {"against": against}})
    check_before(config, chosen_steps("embed"))
    assert refusal(config, "curate").startswith("curate.decontaminate.against.exam.path: ")


@pytest.mark.parametrize("path", ["books/one.jsonl", "books", "b*/*.jsonl", "{papers,books}", "file:{}/books"])
def test_a_file_a_folder_and_a_glob_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    check_local_path(SourceConfig(**source("s", path.replace("{}", str(tmp_path)))), "sources.s.path")


@pytest.mark.parametrize("path", ["books", "empty", "empty/*.jsonl"])
def test_a_path_without_files_is_told_with_the_place_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        check_local_path(SourceConfig(**source("s", path)), "sources.s.path")
    assert str(caught.value).startswith(f"sources.s.path: {path} does not exist")
    assert str(tmp_path / path) in str(caught.value)


@pytest.mark.parametrize(
    ("path", "kind"), [("s3a://bucket/books/", "auto"), ("main.raw.books", "delta"), ("/no/delta", "delta")]
)
def test_other_storages_and_delta_tables_are_not_looked_for_on_this_disk(path: str, kind: str) -> None:
    check_local_path(SourceConfig(**source("s", path, format=kind)), "sources.s.path")


@pytest.mark.parametrize(
    ("module", "needs", "does_not", "extra"),
    [
        ("faiss", "dedup", "embed,annotate", "embed"),
        ("sentence_transformers", "embed", "dedup,measure", "embed"),
        ("openai", "synthesize", "verify,export", "llm"),
        ("aiohttp", "probe", "plan,select", "llm"),
    ],
)
def test_a_missing_package_is_named_with_its_extra_where_a_step_needs_it(
    monkeypatch: pytest.MonkeyPatch, module: str, needs: str, does_not: str, extra: str
) -> None:
    config = config_with(annotate={"fallback": "none"})
    monkeypatch.setitem(sys.modules, module, None)
    check_before(config, chosen_steps(does_not))
    assert refusal(config, needs) == f"the package {module} is not installed: pip install 'boostqa[{extra}]'"


@pytest.mark.parametrize(("endpoint", "extra"), [("transformers", "embed"), ("vllm", "vllm")])
def test_a_model_in_the_workers_needs_its_package_and_no_client(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, extra: str
) -> None:
    config = config_with(llm={"endpoint": endpoint})
    for name in ("openai", "aiohttp"):
        monkeypatch.setitem(sys.modules, name, None)
    module = ModuleType(endpoint)
    module.__spec__ = ModuleSpec(endpoint, None)
    monkeypatch.setitem(sys.modules, endpoint, module)
    check_before(config, chosen_steps("refine"))
    monkeypatch.setitem(sys.modules, endpoint, None)
    assert refusal(config, "refine") == f"the package {endpoint} is not installed: pip install 'boostqa[{extra}]'"


def test_mlflow_is_needed_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    check_before(config_with(), chosen_steps("export"))
    said = refusal(config_with(mlflow={"enabled": True}), "export")
    assert "pip install 'boostqa[track]', or set mlflow.enabled to false" in said
