"""Which device vLLM gets, and what it is told before it is imported; no vLLM is needed for that."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from udfs.engines.protocol import EngineSpec, FatalEngineError
from udfs.engines.vllm_engine import VllmEngine
from udfs.engines.vllm_model import ENVIRONMENT, GPUS, check_device, prepare


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("udfs.engines.vllm_model._own_gpu", {})
    # Set and then taken away, so that all is put back as it was, whatever the test sets.
    for name in (GPUS, *ENVIRONMENT):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("device", "visible", "left"),
    [
        ("cuda:1", None, "1"),
        ("cuda:1", "4,6", "6"),
        ("cuda:0", "GPU-aa,GPU-bb", "GPU-aa"),
        ("cuda", "4,6", "4,6"),
        ("auto", None, None),
        ("cpu", None, None),
    ],
)
def test_the_gpu_of_the_task_is_the_only_one_that_is_left(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None, left: str | None
) -> None:
    if visible is not None:
        monkeypatch.setenv(GPUS, visible)
    prepare(device)
    assert os.environ.get(GPUS) == left
    prepare(device)
    assert os.environ.get(GPUS) == left


def test_a_gpu_that_is_not_there_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GPUS, "0")
    with pytest.raises(FatalEngineError, match="no cuda:1 among the GPUs of CUDA_VISIBLE_DEVICES=0"):
        prepare("cuda:1")


def test_a_process_keeps_to_its_gpu() -> None:
    prepare("cuda:0")
    with pytest.raises(FatalEngineError, match="has its models on cuda:0 was given cuda:1"):
        prepare("cuda:1")


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    prepare("auto")
    assert {name: os.environ[name] for name in ENVIRONMENT} == {**ENVIRONMENT, "VLLM_LOGGING_LEVEL": "INFO"}


@pytest.mark.parametrize(("device", "built"), [("cpu", "cuda"), ("cuda:0", "cpu"), ("cuda", "")])
def test_a_build_for_other_devices_is_told(device: str, built: str) -> None:
    check_device("auto", built)
    with pytest.raises(FatalEngineError, match=f"llm.device is {device}, and the vllm that is installed works on"):
        check_device(device, built)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_the_extra_is_named() -> None:
    with pytest.raises(FatalEngineError, match=r"needs vllm: pip install 'boostqa\[vllm\]'"):
        VllmEngine(EngineSpec(kind="vllm"))
