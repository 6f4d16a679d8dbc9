"""What is written down of batches: found by everybody, half of it never believed."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa

from udfs.engines.batch_intents import Asked, Intents, asked_in, drop_intent, read_intent

URL = "http://127.0.0.1:9/v1"
ONE, TWO = Asked("one", 0, 0), Asked("two", 3, 1)


def test_an_intent_is_found_with_its_batch_until_it_is_dropped(tmp_path: Path) -> None:
    mine, others = Intents(str(tmp_path), URL), Intents(str(tmp_path), URL)
    intent, new = mine.write([TWO, ONE])
    assert new
    assert others.open() == [intent]
    assert intent.requests == (ONE, TWO)
    assert abs(intent.created - time.time()) < 60
    assert others.batch_of(intent) == ""
    mine.note(intent, "batch_1")
    others.note(intent, "batch_1")
    assert others.batch_of(intent) == "batch_1"
    assert others.open({intent.name}) == []
    drop_intent(intent.address)
    drop_intent(intent.address)
    assert (others.open(), others.has(intent), list(tmp_path.iterdir())) == ([], False, [])


def test_the_same_requests_are_one_intent_and_another_round_is_another(tmp_path: Path) -> None:
    intents = Intents(str(tmp_path), URL)
    first, _ = intents.write([ONE, TWO])
    assert intents.write([TWO, ONE]) == (first, False)
    assert intents.write([ONE, TWO._replace(round=2)])[1]
    assert intents.write([ONE, TWO._replace(attempt=4)])[1]
    assert len({intent.tag for intent in intents.open()}) == 3


def test_each_address_of_the_api_has_its_own(tmp_path: Path) -> None:
    intent, _ = Intents(str(tmp_path), URL).write([ONE])
    other = Intents(str(tmp_path), "http://127.0.0.1:10/v1")
    assert other.open() == []
    assert other.write([ONE])[0].name != intent.name


def test_a_half_written_intent_is_no_intent_and_is_written_again(tmp_path: Path) -> None:
    intents = Intents(str(tmp_path), URL)
    intent, _ = intents.write([ONE, TWO])
    whole = Path(intent.address).read_bytes()
    for cut in (b"", whole[:-9], whole.replace(b"two", b"six")):
        Path(intent.address).write_bytes(cut)
        assert intents.open() == []
        assert read_intent(intent.address) is None
    again, new = intents.write([ONE, TWO])
    assert new
    assert intents.open() == [again]


def test_the_requests_of_many_intents_are_rows(tmp_path: Path) -> None:
    intents = Intents(str(tmp_path), URL)
    first, second = intents.write([ONE, TWO])[0], intents.write([TWO._replace(round=2)])[0]
    gone = f"{tmp_path}/gone.intent.json"
    batch = pa.RecordBatch.from_pydict({"intent": [first.address, gone, second.address]})
    rows = [tuple(row.values()) for made in asked_in([batch]) for row in made.to_pylist()]
    assert rows == [
        (first.address, URL, "one", 0),
        (first.address, URL, "two", 3),
        (second.address, URL, "two", 3),
    ]
