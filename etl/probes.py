"""What `boostqa check` tries out, from the driver and from executors: sources, storage, endpoint, embedding model. Each tells what it found in a line."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from etl.config import IN_WORKERS, Config, LlmConfig
from etl.embedder import embed_settings, in_task
from etl.engines import engine_spec, on_task_device
from etl.errors import UserError
from etl.preflight import check_endpoint
from etl.sources import list_files
from etl.tables import Tables, files_folder
from udfs.embedding import embed_texts
from udfs.embedding_model import load_model
from udfs.engines import ChatRequest, EngineSpec, load_engine
from udfs.engines.endpoints import probe_endpoint
from udfs.storage import delete, read_bytes, write_new

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONTENT = b"written by boostqa check; it may be deleted"
SAID_DDL = "host string, said string"
TASKS = 2


def on_executors(spark: SparkSession, work: Callable[[], str]) -> list[tuple[str, str]]:
    """Runs `work` in a few tasks and returns (host, what it said) of each. Its errors come back as Spark's."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"host": [socket.gethostname()], "said": [work()]})

    rows = spark.range(0, TASKS, 1, TASKS).mapInArrow(run, SAID_DDL).collect()
    return [(row["host"], row["said"]) for row in rows]


def sources(spark: SparkSession, config: Config) -> str:
    """Counts the files of each source. Raises UserError for a source without any."""
    if not config.sources:
        raise UserError("sources is empty: name at least one corpus under `sources` in the config")
    tables = Tables(spark, config.tables)
    counted = [(source.name, list_files(tables, config, source).count()) for source in config.sources]
    return f"{sum(n for _, n in counted):,} files in {len(counted)} sources"


def storage(config: Config) -> str:
    """Writes, reads and deletes a file from the driver."""
    address = f"{files_folder(config.tables)}/check/{uuid.uuid4().hex}"
    write_new(address, CONTENT)
    try:
        if read_bytes(address) != CONTENT:
            raise UserError(f"{address} does not read back as it was written: is this storage shared and consistent?")
    finally:
        delete(address)
    return f"the driver writes, reads and deletes in {files_folder(config.tables)}"


def executors_storage(spark: SparkSession, config: Config) -> str:
    """Writes files from executors, and reads and deletes them on the driver: that is how paid answers come home."""
    if not config.llm.write_ahead:
        return f"not asked of executors: llm.write_ahead is false, so a kill can lose the answers of a wave ({config.llm.wave_requests:,} requests)"
    folder = f"{files_folder(config.tables)}/check"

    def write() -> str:
        address = f"{folder}/{uuid.uuid4().hex}"
        write_new(address, CONTENT)
        return address

    written = on_executors(spark, write)
    for host, address in written:
        try:
            seen = read_bytes(address) == CONTENT
        except FileNotFoundError:
            seen = False
        if not seen:
            raise UserError(
                f"what an executor on {host} writes to {folder} the driver does not see: name a folder on shared storage "
                "(tables.warehouse or tables.files), or set llm.write_ahead to false: then a kill can lose the paid answers of a whole wave"
            )
        delete(address)
    return f"executors write there too, seen by the driver ({', '.join(sorted({host for host, _ in written}))})"


def endpoint(spark: SparkSession, config: Config, model: str) -> str:
    """Asks the endpoint for its models, from the driver and from executors; free of charge."""
    if config.llm.endpoint == "stand-in":
        far = sorted({host for host, _ in on_executors(spark, str)} - {socket.gethostname()})
        if far:
            raise UserError(
                f"the stand-in teacher listens on the driver's own machine, and executors on {', '.join(far)} can not reach it: "
                "set llm.endpoint to urls"
            )
        return "the stand-in teacher: placeholder answers, needs no key (llm.endpoint: urls for real ones)"
    llm: LlmConfig = config.llm
    spec = engine_spec(llm, llm.base_urls)
    if llm.endpoint in IN_WORKERS:
        return _in_workers(spark, spec, model)
    check_endpoint(config, model)
    for host, problem in on_executors(spark, lambda: probe_endpoint(spec, model) or ""):
        if problem:
            raise UserError(f"llm endpoint, from an executor on {host}: {problem}")
    return f"{', '.join(llm.base_urls)} serves {model}, reached from driver and executors"


def _in_workers(spark: SparkSession, spec: EngineSpec, model: str) -> str:
    """Loads the model in an executor and lets it say one token."""
    request = ChatRequest("check", model, ({"role": "user", "content": "Hello"},), {"max_tokens": 1})

    def answer() -> str:
        (result,) = load_engine(on_task_device(spec)).complete([request])
        return f"{result.prompt_tokens} tokens read"

    ((host, said), *_) = on_executors(spark, answer)
    return f"{model} runs in a worker on {host}: {said}"


def embedding_model(spark: SparkSession, config: Config) -> str:
    """Loads the embedding model in an executor and embeds a sentence."""
    settings = embed_settings(config.embed)

    def embed() -> str:
        made = embed_texts(load_model(in_task(settings)), ["What is checked before anything is paid?"])
        return f"{made.vectors.shape[1]} dimensions"

    host, said = on_executors(spark, embed)[0]
    return f"{config.embed.model} loads in an executor on {host}: {said}"
