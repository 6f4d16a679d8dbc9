"""What was handed to the Batch API, on shared storage, so that a batch is paid once however often its task is killed.

An intent is written before its batch is created, under the hash of what it asks, and the batch's id beside it afterwards. Whoever finds an intent of his
requests waits for that batch and reads it. The driver deletes an intent when the ledger has all of its requests; until then its answers can be read again.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from udfs.storage import delete, exists, list_files, read_bytes, write_new, write_over

INTENT, BATCH = ".intent.json", ".batch"
ASKED_SCHEMA = pa.schema(
    [("intent", pa.string()), ("url", pa.string()), ("request_id", pa.string()), ("attempt", pa.int32())]
)
ASKED_DDL = "intent string, url string, request_id string, attempt int"


class Asked(NamedTuple):
    """One request of a batch: its key in the ledger, and how many batches have asked it before."""

    request_id: str
    attempt: int
    round: int


@dataclass(frozen=True, slots=True)
class Intent:
    """A batch that was to be created at `url`, at `created` (seconds since 1970), with `tag` in its metadata. `address` is its file."""

    address: str
    url: str
    tag: str
    created: float
    requests: tuple[Asked, ...]

    @property
    def name(self) -> str:
        """The hash of what is asked, the same however the folder is addressed."""
        return _name_in(self.address)


class Intents:
    """The intents of one folder for the batches at one address of the API."""

    def __init__(self, folder: str, url: str) -> None:
        self._folder = folder
        self._url = url

    def open(self, known: Container[str] = ()) -> list[Intent]:
        """Returns the intents that are there, without those whose names are known, the oldest first."""
        found = [read_intent(address) for address in list_files(self._folder, INTENT) if _name_in(address) not in known]
        mine = [intent for intent in found if intent is not None and intent.url == self._url]
        return sorted(mine, key=lambda intent: (intent.created, intent.address))

    def write(self, requests: Iterable[Asked]) -> tuple[Intent, bool]:
        """Writes an intent. Returns it with True, or with False the one of the same requests that another task has written."""
        asked = tuple(sorted(requests))
        address = f"{self._folder}/{_name(self._url, asked)}{INTENT}"
        intent = Intent(address, self._url, uuid.uuid4().hex, time.time(), asked)
        content = {"url": intent.url, "tag": intent.tag, "created": intent.created, "requests": asked}
        data = json.dumps(content).encode()
        try:
            write_new(address, data)
        except FileExistsError:
            there = read_intent(address)
            if there is not None:
                return there, False
            # Cut in writing: its batch was never created.
            write_over(address, data)
        return intent, True

    def note(self, intent: Intent, batch_id: str) -> None:
        """Writes down which batch was created; twice is no error."""
        with suppress(FileExistsError):
            write_new(_batch_file(intent.address), batch_id.encode())

    def batch_of(self, intent: Intent) -> str:
        """Returns the id of the intent's batch, or nothing where none is written down."""
        try:
            return read_bytes(_batch_file(intent.address)).decode()
        except FileNotFoundError:
            return ""

    def has(self, intent: Intent) -> bool:
        """Tells whether the intent is still there."""
        return exists(intent.address)


def read_intent(address: str) -> Intent | None:
    """Reads an intent; None where it is gone or half-written (its requests do not hash to its name)."""
    try:
        told = json.loads(read_bytes(address))
        asked = tuple(Asked(*request) for request in told["requests"])
        intent = Intent(address, told["url"], told["tag"], told["created"], asked)
    except (FileNotFoundError, ValueError):
        return None
    return intent if intent.name == _name(intent.url, asked) else None


def drop_intent(address: str) -> None:
    """Deletes an intent, and what is written down of its batch."""
    delete(_batch_file(address))
    delete(address)


def asked_in(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Maps batches of intents' addresses (column `intent`) to the requests in them (ASKED_SCHEMA); half-written ones give none."""
    for batch in batches:
        for address in batch.column("intent").to_pylist():
            intent = read_intent(address)
            rows = (
                [(address, intent.url, asked.request_id, asked.attempt) for asked in intent.requests] if intent else []
            )
            columns = list(zip(*rows, strict=True)) or [()] * len(ASKED_SCHEMA)
            yield pa.RecordBatch.from_arrays(
                [pa.array(c, f.type) for c, f in zip(columns, ASKED_SCHEMA, strict=True)], schema=ASKED_SCHEMA
            )


def _name(url: str, asked: tuple[Asked, ...]) -> str:
    return hashlib.sha256(json.dumps([url, asked]).encode()).hexdigest()


def _name_in(address: str) -> str:
    return address.rsplit("/", 1)[-1].removesuffix(INTENT)


def _batch_file(address: str) -> str:
    return address.removesuffix(INTENT) + BATCH
