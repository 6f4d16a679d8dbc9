"""JSON lines: one object a line. The position is the number of the line; blank lines are no records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from etl.readers.chunks import lines, utf8_chunks
from etl.readers.record import BadRecord, ByteStream, ReadOptions, Record, raw_of


def read_json_lines(stream: ByteStream, options: ReadOptions) -> Iterator[Record | BadRecord]:
    """Each line as a record or a bad record; a bad line never touches another."""
    for line in lines(utf8_chunks(stream, options.encoding), options.max_record_bytes):
        if line.reason:
            yield BadRecord(str(line.number), line.reason, line.error, raw_of(line.data))
        elif line.data.strip():
            yield json_record(str(line.number), line.data)


def json_record(position: str, data: bytes) -> Record | BadRecord:
    """One JSON object in UTF-8 as a record.

    The standard library's parser, because it keeps integers of any size and takes NaN and half surrogate pairs, which are for the mapping to judge.
    Of equal keys the last one wins, as with every common parser.
    """
    try:
        value: Any = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadRecord(
            position, "bad_encoding", f"byte {error.start} of the record is not in the file's encoding", raw_of(data)
        )
    except RecursionError:
        return BadRecord(position, "bad_json", "the JSON is nested too deeply", raw_of(data))
    except ValueError as error:
        return BadRecord(position, "bad_json", str(error), raw_of(data))
    if not isinstance(value, dict):
        return BadRecord(
            position, "wrong_type", f"a record must be a JSON object, this is {json_type(value)}", raw_of(data)
        )
    return Record(position, value)


def json_type(value: Any) -> str:
    """The name that JSON has for a value's type; Python's own for what JSON has not."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), f"of type {type(value).__name__}")
