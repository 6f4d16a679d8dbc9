import datetime as dt
import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.readers.mapping import META_ENTRIES, MappedRecord, map_record, unnest
from etl.readers.record import BadRecord, Record


def mapped(data, limit=10_000, **fields):
    return map_record(data, fields, "7", limit)


def bad(data, limit=10_000, **fields) -> tuple[str, str]:
    found = mapped(data, limit, **fields)
    assert isinstance(found, BadRecord), found
    assert found.position == "7"
    return found.reason, found.error


def test_without_a_mapping_only_our_own_names_are_used():
    data = {"text": "Body", "id": 12, "title": " T ", "lang": "en", "year": 1999}
    assert mapped(data) == MappedRecord(
        "7", "passage", "Body", own_id="12", title="T", lang="en", meta={"year": "1999"}
    )
    assert bad({"content": "Body"}) == ("missing_field", "'text' is absent or null")


def test_paths_lists_and_further_names():
    data = {"a": {"b": [{"t": "one"}, {"t": "two"}]}, "x.y": "three", "parent": {"id": 4}, "n": 5}
    found = mapped(data, text=("a.b.0.t", "a.b.9.t", "a.b.1.t", "x.y"), id="parent.id", book="n")
    assert (found.text, found.own_id, found.meta) == ("one\n\ntwo\n\nthree", "4", {"n": "5", "book": "5"})


def test_a_question_with_an_answer_is_qa_and_its_text_is_both():
    found = mapped({"q": "Why?", "a": ["Because."], "ctx": "Context"}, question="q", answer="a.0")
    assert (found.kind, found.text, found.question, found.answer) == ("qa", "Why?\n\nBecause.", "Why?", "Because.")
    assert mapped({"q": "6*7?", "a": 42}, question="q", answer="a").answer == "42"
    with_text = mapped({"q": "Why?", "a": "Because.", "ctx": "Context"}, question="q", answer="a", text="ctx")
    assert (with_text.kind, with_text.text) == ("qa", "Context")
    assert mapped({"question": None, "text": "Body"}).kind == "passage"


@pytest.mark.parametrize(
    ("data", "fields", "reason", "error"),
    [
        ({}, {"text": "a.b"}, "missing_field", "'a.b' (text) is absent or null"),
        ({"a": None}, {"text": "a"}, "missing_field", "'a' (text) is absent or null"),
        ({"a": "x"}, {"text": "a.0"}, "missing_field", "'a.0' (text) is absent or null"),
        ({"a": "x"}, {"title": "a"}, "missing_field", "neither text nor question is mapped"),
        ({"a": "x"}, {"question": "q", "answer": "a"}, "missing_field", "'q' (question) is absent or null"),
        ({"q": "x"}, {"question": "q", "answer": "a"}, "missing_field", "'a' (answer) is absent or null"),
        ({"q": "x"}, {"question": "q"}, "missing_field", "map `answer`"),
        ({"a": ["x"]}, {"text": "a"}, "wrong_type", "'a' (text) must be a string and is a list"),
        ({"a": 1}, {"text": "a"}, "wrong_type", "is a number"),
        ({"a": True, "q": "x"}, {"question": "q", "answer": "a"}, "wrong_type", "is a boolean"),
        (
            {"a": "x", "i": {}},
            {"text": "a", "id": "i"},
            "wrong_type",
            "'i' (id) must be a string or a number and is an object",
        ),
        ({"a": " \n "}, {"text": "a"}, "empty_text", "'a' (text) is empty"),
        ({"q": "", "a": "x"}, {"question": "q", "answer": "a"}, "empty_text", "'q' (question) is empty"),
        ({"a": "x\0y"}, {"text": "a"}, "bad_encoding", "NUL character at 1"),
        ({"a": "x\ud800"}, {"text": "a"}, "bad_encoding", "half a surrogate pair at 1"),
        ({"a": "x", "t": "\ud800"}, {"text": "a", "title": "t"}, "bad_encoding", "'t' has half"),
        ({"a": b"\xff"}, {"text": "a"}, "bad_encoding", "not UTF-8"),
    ],
)
def test_every_fault_names_the_field(data, fields, reason, error):
    assert bad(data, **fields)[0] == reason
    assert error in bad(data, **fields)[1]


def test_bytes_are_read_as_text_and_sizes_count_utf8():
    assert mapped({"text": "好".encode()}).text == "好"
    assert mapped({"text": "好好"}, 6).text == "好好"
    assert bad({"text": "好好"}, 5)[0] == "too_large"


def test_meta_holds_small_scalars_only_and_can_always_be_stored():
    data = {
        "text": "x",
        "flag": True,
        "nan": float("nan"),
        "day": dt.date(2024, 1, 2),
        "cost": Decimal("1.50"),
        "none": None,
    }
    data |= {"list": [1], "long": "x" * 1_001, "half": "a\ud800\0", "k\ud800": 1}
    expected = {"flag": "true", "nan": "nan", "day": "2024-01-02", "cost": "1.50", "half": "a?�", "k?": "1"}
    assert mapped(data).meta == expected
    assert len(mapped({"text": "x", **{f"k{n}": n for n in range(200)}}).meta) == META_ENTRIES


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=5)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
paths = st.sampled_from(["a", "b", "a.b", "a.0", "b.c.0", "c.", ".", ""])


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), values),
    st.dictionaries(st.sampled_from(["text", "question", "answer", "id", "x"]), paths),
)
def test_any_record_becomes_one_storable_row(data, fields):
    found = map_record(data, fields, "0", 100)
    if isinstance(found, BadRecord):
        found.error.encode()
        found.raw.encode()
    else:
        json.dumps(
            [found.text, found.question, found.answer, found.own_id, found.title, found.meta], ensure_ascii=False
        ).encode()
        assert found.text.strip()


def test_a_list_inside_gives_records_that_know_their_parent():
    record = Record("3", {"book": "B", "parts": [{"name": "P", "qas": [{"q": 1}, {"q": 2}]}, {"name": "Q", "qas": []}]})
    first, second = unnest(record, "parts.qas")
    assert first == Record("3.0.0", {"q": 1, "parent": {"name": "P", "parent": {"book": "B"}}})
    assert second.position == "3.0.1"
    (inside,) = unnest(Record("3", {"response": {"docs": [{"q": 1}]}, "page": 2}), "response.docs")
    assert inside == Record("3.0", {"q": 1, "parent": {"parent": {"page": 2}}})
    assert list(unnest(record, "")) == [record]


def test_what_is_no_list_of_objects_is_told():
    found = [
        (item.position, item.reason)
        for item in unnest(Record("3", {"list": [{"q": 1}, 5]}), "list")
        if isinstance(item, BadRecord)
    ]
    assert found == [("3.1", "wrong_type")]
    assert [item.reason for item in unnest(Record("3", {}), "list")] == ["missing_field"]
    assert [item.reason for item in unnest(Record("3", {"list": "text"}), "list")] == ["wrong_type"]
