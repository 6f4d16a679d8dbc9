import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.readers.parquet import read_parquet
from etl.readers.record import BadRecord, ReadOptions, Record
from udfs.storage import StorageError


def packed(rows: int = 1_000, **options) -> bytes:
    table = pa.table({"id": range(rows), "text": [f"text {n}" for n in range(rows)]})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=100, write_page_checksum=True, use_dictionary=False, **options)
    return out.getvalue()


def read(data: bytes) -> list:
    return list(read_parquet(io.BytesIO(data), ReadOptions()))


DATA = packed()


def test_rows_of_all_groups_in_order():
    assert read(DATA) == [Record(str(n), {"id": n, "text": f"text {n}"}) for n in range(1_000)]


@pytest.mark.parametrize("data", [DATA[:-100], DATA[:20], b"", b"PAR1", DATA[:-4] + b"XXXX"])
def test_a_broken_footer_is_one_unreadable_row(data):
    (bad,) = read(data)
    assert (bad.position, bad.reason) == ("0", "unreadable")


def test_a_damaged_chunk_costs_the_rows_of_its_group_and_no_other():
    damaged = bytearray(DATA)
    column = pq.ParquetFile(io.BytesIO(DATA)).metadata.row_group(3).column(1)
    middle = column.data_page_offset + column.total_compressed_size // 2
    damaged[middle : middle + 8] = b"\xff" * 8
    items = read(bytes(damaged))
    assert [item.position for item in items] == [str(n) for n in range(1_000)]
    assert {int(item.position) for item in items if isinstance(item, BadRecord)} == set(range(300, 400))
    assert {item.reason for item in items if isinstance(item, BadRecord)} == {"unreadable"}


def test_values_that_python_cannot_hold_cost_their_row():
    broken_text = pa.array([b"fine", b"\xff"]).view(pa.string())
    text = pa.concat_arrays([broken_text, pa.array(["in the year 300,000,000"])])
    out = io.BytesIO()
    pq.write_table(pa.table({"text": text, "when": pa.array([0, 0, 2**63 - 1], pa.timestamp("ms"))}), out)
    first, second, third = read(out.getvalue())
    assert first.data["text"] == "fine"
    assert (second.reason, third.reason) == ("bad_encoding", "unreadable")


def test_a_failing_storage_is_not_taken_for_a_damaged_file():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise StorageError("the network is down")

    with pytest.raises(StorageError):
        list(read_parquet(Failing(DATA), ReadOptions()))


@settings(deadline=None)
@given(st.integers(0, 2_000), st.binary(min_size=1, max_size=4))
def test_no_damage_raises_or_loses_a_row_in_silence(at, junk):
    small = packed(200)
    at %= len(small)
    items = read(small[:at] + junk + small[at + len(junk) :])
    assert items
    assert len({item.position for item in items}) == len(items)
