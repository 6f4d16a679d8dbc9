"""From the config to the embedding model of a worker."""

from __future__ import annotations

from dataclasses import replace

from etl.config import EmbedConfig
from etl.task_device import task_cores, task_device
from udfs.embedding_model import EmbedSettings


def embed_settings(embed: EmbedConfig) -> EmbedSettings:
    """Builds the worker's settings from the config; with them, `udfs.embedding_model.model_id` names the vectors."""
    return EmbedSettings(
        model=embed.model,
        device=embed.device,
        precision=embed.precision,
        windows=embed.windows,
        batch_tokens=embed.batch_tokens,
    )


def in_task(settings: EmbedSettings) -> EmbedSettings:
    """Gives a model the GPU and the cores that Spark has given to this task."""
    return replace(settings, device=task_device(settings.device), threads=task_cores())
