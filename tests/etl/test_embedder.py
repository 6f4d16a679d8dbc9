"""From the config to the embedding model: the names of vectors, and what a task has been given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from etl.embedder import embed_settings, in_task
from tests.etl.tiny import MODEL, make_config
from udfs.embedding_model import EmbedSettings, model_id

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_the_base_settings_name_vectors_by_the_model_alone() -> None:
    assert model_id(embed_settings(make_config("warehouse").embed)) == MODEL
    changed = make_config("warehouse", embed={"precision": "bfloat16", "windows": "mean", "batch_tokens": 512}).embed
    assert embed_settings(changed) == EmbedSettings(MODEL, "auto", "bfloat16", "mean", 512)


def test_a_task_without_a_gpu_keeps_the_device_and_takes_its_own_cores_alone(spark: SparkSession) -> None:
    settings = EmbedSettings()

    def tell(batches):
        for _ in batches:
            mine = in_task(settings)
            yield pa.RecordBatch.from_pydict({"device": [mine.device], "threads": pa.array([mine.threads], pa.int32())})

    (row,) = spark.range(1).mapInArrow(tell, "device string, threads int").collect()
    assert (row["device"], row["threads"]) == ("auto", 1)
    assert in_task(settings).threads == 1, "outside a task"
