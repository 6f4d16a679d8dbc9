"""From the config to the engine of a worker."""

from __future__ import annotations

import json
from dataclasses import replace

from etl.batches import batch_folder
from etl.config import IN_WORKERS, LlmConfig
from etl.task_device import task_device
from udfs.engines.protocol import EngineSpec

# Prompts that engines in the workers answer together where the config does not say: for vLLM what it takes by itself.
BATCH_SIZES = {"transformers": 8, "vllm": 256}


def engine_spec(llm: LlmConfig, base_urls: list[str], files: str = "") -> EngineSpec:
    """Builds the engine's spec from the config; `base_urls` are the endpoints really used, `files` is the warehouse's folder for files, which batches need."""
    served = "openai-batch" if llm.batch else "openai"
    kind = llm.endpoint if llm.endpoint in IN_WORKERS else served
    return EngineSpec(
        kind=kind,
        base_urls=tuple(base_urls),
        api_key_env=llm.api_key_env,
        max_in_flight=llm.max_in_flight,
        rpm=llm.rpm,
        tpm=llm.tpm,
        request_timeout_s=llm.request_timeout_s,
        deadline_s=llm.deadline_s,
        max_attempts=llm.max_attempts,
        bad_answers=llm.bad_answers,
        device=llm.device,
        batch_size=llm.batch_size or BATCH_SIZES.get(kind, 1),
        engine_args=json.dumps(llm.vllm, sort_keys=True),
        batch_folder=batch_folder(files) if files else "",
        batch_requests=llm.batch_requests,
        batch_poll_s=llm.batch_poll_s,
    )


def share_of(spec: EngineSpec, workers: int) -> EngineSpec:
    """Gives each of so many workers the same fixed share of the bounds, for where they can not tell each other what they need."""
    parts = {name: getattr(spec, name) // workers for name in ("max_in_flight", "rpm", "tpm")}
    return replace(spec, **parts)


def on_task_device(spec: EngineSpec) -> EngineSpec:
    """Gives an engine in a worker the GPU that Spark has given to its task, where Spark schedules GPUs."""
    return replace(spec, device=task_device(spec.device))
