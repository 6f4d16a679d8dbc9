import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.readers.json_values import read_json_values
from etl.readers.record import BadRecord, ReadOptions, Record


class Drip(io.BytesIO):
    def read(self, size=-1):
        return super().read(5)


def brief(data: bytes, stream=io.BytesIO, **options) -> list:
    items = list(read_json_values(stream(data), ReadOptions(**options)))
    assert [item.position for item in items] == [str(index) for index in range(len(items))]
    return [item.reason if isinstance(item, BadRecord) else item.data for item in items]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), min_size=1),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_any_layout_of_valid_objects_is_read_as_it_is(objects, ascii_only, indent):
    texts = [json.dumps(value, ensure_ascii=ascii_only, indent=indent) for value in objects]
    array = json.dumps(objects, ensure_ascii=ascii_only, indent=indent)
    for layout in (array, "\n".join(texts), "".join(texts)):
        assert brief(layout.encode(), Drip) == objects
    assert brief(f"{array}\n{array}{texts[0]}".encode(), Drip) == [*objects, *objects, objects[0]]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ('[{"a": 1}, {"a": }, {"a": 3}]', [1, "bad_json", 3]),
        ('[{"a": 1}, {"a": 2, {"a": 3}]', [1, "bad_json", 3]),
        ('[{"a": 1}, {"a": "2}, {"a": 3}]', [1, "bad_json", 3]),
        ('[{"a": 1}, {"a": [2}, {"a": 3}]', [1, "bad_json", 3]),
        ('[{"a": 1}, {"a": @@, {"a": 3}]', [1, "bad_json", 3]),
        ('[{"a": 1}, {"a": 2 {"a": 3}]', [1, "bad_json", 3]),
        ('[{"a": 1}, {a": 2}, {"a": 3}, {"a": 4}]', [1, "bad_json", "bad_json", 3, 4]),
        ('[{"a": 1}, nonsense, {"a": 3}]', [1, "bad_json", 3]),
        ('[{"a": 1}, "text, [1", [2], null, {"a": 3}]', [1, "wrong_type", "wrong_type", "wrong_type", 3]),
        ('[{"a": 1} {"a": 3}]', [1, 3]),
        ('[{"a": 1},, {"a": 3},]', [1, 3]),
        ('{"a": 1} garbage } ] {"a": 3}', [1, "bad_json", 3]),
        ('[{"a": 1}, {"a": {"a": 5}, "b": nope}, {"a": 3}]', [1, "bad_json", 3]),
        ('[{"a": 1}, {"a": 3', [1, "truncated"]),
        ('[{"a": 1}, {"a": "3', [1, "truncated"]),
        ('[{"a": 1},', [1, "truncated"]),
        ('[{"a": 1}', [1, "truncated"]),
        ('[{"a": 1}, "half', [1, "bad_json", "truncated"]),
        ("42", ["wrong_type"]),
        (" \n", ["bad_json"]),
        ("[]", []),
    ],
)
@pytest.mark.parametrize("stream", [io.BytesIO, Drip])
def test_reading_goes_on_after_a_broken_element(broken, expected, stream):
    got = [item["a"] if isinstance(item, dict) else item for item in brief(broken.encode(), stream)]
    assert [item for item in got if item != "bad_json"] == [item for item in expected if item != "bad_json"]
    assert ("bad_json" in got) == ("bad_json" in expected)


def test_bad_bytes_cost_the_element_they_are_in():
    assert brief(b'[{"a": 1}, {"a": "\xff"}, {"a": 3}]') == [{"a": 1}, "bad_encoding", {"a": 3}]
    assert brief('[{"a": "好"}, {"a": "\\\\"}]'.encode("gb18030"), encoding="gb18030") == [{"a": "好"}, {"a": "\\"}]


def test_depth_and_size_have_bounds():
    deep = b'{"a": ' * 10_000 + b"1" + b"}" * 10_000
    assert brief(b'[{"a": 1}, ' + deep + b', {"a": 3}]') == [{"a": 1}, "bad_json", {"a": 3}]
    large = b'{"a": "' + b"[{," * 100_000 + b'"}'
    assert brief(b'[{"a": 1}, ' + large + b', {"a": 3}]', max_record_bytes=1_000) == [{"a": 1}, "too_large", {"a": 3}]


def test_an_element_without_an_end_does_not_swallow_a_long_file():
    rest = b", ".join(b'{"a": %d}' % n for n in range(20_000))
    got = brief(b'[{"a": "no end}, ' + rest + b"]", max_record_bytes=100_000)
    assert got == ["bad_json", *({"a": n} for n in range(20_000))]


def test_memory_is_bounded_by_elements_not_by_the_file():
    class Endless(io.RawIOBase):
        left = 300

        def read(self, size=-1):
            self.left -= 1
            return b'{"a": "%s"},' % (b"x" * 200_000) if self.left > 0 else b""

    tracemalloc.start()
    count = sum(1 for _ in read_json_values(Endless(), ReadOptions()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 299
    assert peak < 5_000_000


OBJECTS = [{"id": n, "text": f"第 {n} [text], “{n}”", "more": {"id": n}} for n in range(9)]
TEXT = json.dumps(OBJECTS, ensure_ascii=False).encode()
ENDS = [TEXT.index(json.dumps(value, ensure_ascii=False).encode()) for value in OBJECTS[1:]] + [len(TEXT)]


@settings(deadline=None)
@given(st.data())
def test_no_mutation_raises_and_what_was_read_before_it_stays(data):
    start = data.draw(st.integers(0, len(TEXT)))
    end = data.draw(st.integers(start, min(start + 60, len(TEXT))))
    mutated = (
        TEXT[:start]
        + data.draw(st.binary(max_size=4) | st.text('{}[]",:\\ax1', max_size=4).map(str.encode))
        + TEXT[end:]
    )
    items = list(read_json_values(io.BytesIO(mutated), ReadOptions()))
    found = [item.data for item in items if isinstance(item, Record)]
    assert all(value in found for value, end_of_value in zip(OBJECTS, ENDS, strict=True) if end_of_value < start)
    assert len(found) == len(items) or mutated != TEXT


def test_a_missing_byte_costs_at_most_the_elements_next_to_it_and_is_told():
    for start in range(1, len(TEXT) - 1):
        items = list(read_json_values(io.BytesIO(TEXT[:start] + TEXT[start + 1 :]), ReadOptions()))
        values = [item.data for item in items if isinstance(item, Record)]
        lost = sum(value not in values for value in OBJECTS)
        assert lost <= 2, start
        assert lost <= sum(value not in OBJECTS for value in values) + len(items) - len(values), start
