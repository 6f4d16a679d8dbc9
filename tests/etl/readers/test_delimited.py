import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.readers.delimited import read_csv, read_tsv
from etl.readers.record import BadRecord, ReadOptions


def brief(data: str | bytes, reader=read_csv, **options) -> list:
    data = data.encode() if isinstance(data, str) else data
    items = list(reader(io.BytesIO(data), ReadOptions(**options)))
    return [
        (item.position, item.reason if isinstance(item, BadRecord) else tuple(item.data.values())) for item in items
    ]


def test_quoted_newlines_and_the_position_is_the_first_line_of_a_row():
    data = '\ufeffid,text\r\n1,"two\nlines, ""quoted"""\r\n\r\n2,one\n'
    assert brief(data) == [("2", ("1", 'two\nlines, "quoted"')), ("5", ("2", "one"))]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end(end):
    assert brief(end.join(["a,b", "1,2", "3,4"])) == [("2", ("1", "2")), ("3", ("3", "4"))]


def test_wrong_columns_keep_the_row():
    (bad, good) = read_csv(io.BytesIO(b"a,b\n1,2,3\n4,5\n"), ReadOptions())
    assert (bad.position, bad.reason, bad.error, bad.raw) == (
        "2",
        "wrong_columns",
        "3 columns, the header has 2",
        "1,2,3\n",
    )
    assert good.data == {"a": "4", "b": "5"}


@pytest.mark.parametrize("row", ['1,"no end', '1,"quote" inside', '1,"two\nlines" wrong'])
def test_a_broken_quote_costs_its_line_and_no_other_row(row):
    got = brief(f"a,b\n0,x\n{row}\n2,y\n3,z\n")
    assert got[0] == ("2", ("0", "x"))
    assert got[1] == ("3", "wrong_columns")
    assert got[-2:] == [(got[-2][0], ("2", "y")), (got[-1][0], ("3", "z"))]


def test_a_quote_that_is_never_closed_is_given_up_at_the_size_bound():
    rows = "".join(f"{n},text {n}\n" for n in range(2_000))
    got = brief(f'a,b\nx,"no end\n{rows}', max_record_bytes=500)
    assert got[0] == ("2", "wrong_columns")
    assert [values for _, values in got[1:]] == [(str(n), f"text {n}") for n in range(2_000)]


def test_tsv_without_quoting_is_taken_literally():
    data = 'a\tb\n"He" said\tx\n5" pipe\ty\n"open\tz\n"a\nb"\tw\n'
    assert brief(data, read_tsv) == [
        ("2", ('"He" said', "x")),
        ("3", ('5" pipe', "y")),
        ("4", ('"open', "z")),
        ("5", ("a\nb", "w")),
    ]


def test_names_for_a_file_without_header_and_another_delimiter():
    (record,) = read_csv(io.BytesIO(b"1;2"), ReadOptions(columns=("x", "y"), delimiter=";"))
    assert (record.position, record.data) == ("1", {"x": "1", "y": "2"})


def test_headers_as_people_write_them():
    (record,) = read_csv(io.BytesIO("a , ,a,a_2,caf\xe9\n1,2,3,4,5\n".encode("latin-1")), ReadOptions())
    assert record.data == {"a": "1", "column_2": "2", "a_2": "3", "a_2_2": "4", "caf?": "5"}


def test_a_header_that_cannot_be_read_ends_the_file_with_one_row():
    (bad,) = read_csv(io.BytesIO(b'a,"b\n1,2\n3,4\n'), ReadOptions())
    assert (bad.position, bad.reason) == ("1", "wrong_columns")
    assert "no row can" in bad.error


def test_bad_bytes_large_lines_and_nul():
    assert brief(b"a,b\n1,\xff\n2,x\n") == [("2", "bad_encoding"), ("3", ("2", "x"))]
    assert brief(f"a,b\n1,{'x' * 300_000}\n2,y\n", max_record_bytes=200_000) == [("2", "too_large"), ("3", ("2", "y"))]
    assert brief(f"a,b\n1,{'x' * 300_000}\n")[0][1][1] == "x" * 300_000
    assert brief(b"a,b\n1,\0\n2,y\n")[1] == ("3", ("2", "y"))
    assert brief(b"") == []


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6) | st.sampled_from(
    ['"', "\r\n", ",", "\t"]
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(cells, cells.map(lambda cell: cell + "x")), max_size=6),
    st.sampled_from([(read_csv, ","), (read_tsv, "\t")]),
)
def test_what_the_csv_module_writes_is_read_back(rows, kind):
    reader, delimiter = kind
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([("a", "b"), *rows])
    assert [values for _, values in brief(out.getvalue(), reader)] == rows


@settings(deadline=None)
@given(
    st.binary(max_size=80) | st.text('ab,"\n\r\t', max_size=60).map(str.encode), st.sampled_from([read_csv, read_tsv])
)
def test_no_bytes_raise_and_no_position_is_given_twice(data, reader):
    positions = [position for position, _ in brief(data, reader, max_record_bytes=30)]
    assert len(set(positions)) == len(positions)
