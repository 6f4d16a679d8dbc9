"""The driver's side of the Batch API: what is written down of batches goes when the ledger has their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.errors import UserError
from etl.recorded_calls import since
from etl.tables import Tables
from udfs.engines.batch_intents import ASKED_DDL, INTENT, asked_in, drop_intent
from udfs.storage import FileStat, list_stats

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

GO_ON = (
    "the batches that were sent go on at the server, and are paid; the next run reads them and asks none of it again"
)


def batch_folder(files: str) -> str:
    """Where a warehouse's intents are, given its folder for files."""
    return f"{files}/batches"


def intents(tables: Tables) -> list[FileStat]:
    """Returns the files of the intents that are there."""
    return list_stats(batch_folder(tables.files), INTENT)


def unread(tables: Tables) -> DataFrame:
    """Returns the requests (intent, url, request_id, attempt) that were handed to the Batch API and are not in the ledger.

    Of the ledger it reads the ids, and only of what was answered since the first of these batches was handed in.
    """
    files, key = intents(tables), ["request_id", "attempt"]
    listed = tables.spark.createDataFrame([(file.uri,) for file in files], "intent string")
    asked = listed.mapInArrow(asked_in, ASKED_DDL)
    calls = tables.read("llm_calls").where(since(min((file.mtime for file in files), default=0.0)))
    # Batches are small beside the ledger, which need not be sorted so.
    known = calls.join(F.broadcast(asked.select(*key)), key, "left_semi").select(*key)
    return asked.join(known, key, "left_anti")


def refuse_twice(tables: Tables, requests: DataFrame, read_at: str = "") -> None:
    """Raises UserError where any of the requests was handed to the Batch API and is not read yet: asked anew, it would be paid twice.

    Batches at the address `read_at` are read when their requests are asked.
    """
    if not intents(tables):
        return
    elsewhere = unread(tables).where(F.col("url") != read_at)
    found = requests.join(elsewhere, ["request_id", "attempt"])
    said = found.agg(F.count_distinct("request_id").alias("sent"), F.min("url").alias("url")).first()
    assert said is not None
    if said["sent"]:
        raise UserError(
            f"{said['sent']:,} of these requests are in batches that are not read yet: set llm.batch to true and llm.base_urls to [{said['url']}] "
            f"to have their answers, or delete {batch_folder(tables.files)} to ask (and pay) them again"
        )


def forget_batches(tables: Tables) -> None:
    """Deletes the intents of which the ledger has every request: until then, their answers can be read again at no cost."""
    addresses = [file.uri for file in intents(tables)]
    if not addresses:
        return
    needed = {row["intent"] for row in unread(tables).select("intent").distinct().collect()}
    for address in addresses:
        if address not in needed:
            drop_intent(address)


@contextmanager
def leaving_batches(say: Callable[[str], None]) -> Iterator[None]:
    """Lets Ctrl-C end the block at once, and tells what becomes of its batches: nothing that they have answered is lost."""
    try:
        yield
    except KeyboardInterrupt:
        say(GO_ON)
        raise
