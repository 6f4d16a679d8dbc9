"""How a document meets a benchmark item: by an n-gram inside it, or by the whole of a short question."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from etl.benchmarks import benchmark_source, hashed

WORDS, CHARS = 4, 6
LEAK = "A tank loses three litres every minute"
SHORT = "What is entropy?"
Pair = tuple[str, str | None]
pairs = st.lists(st.tuples(st.sampled_from([LEAK, SHORT, "", "水的沸点是一百度"]), st.sampled_from([None, "", SHORT])))


def batch(*rows: Pair) -> pa.RecordBatch:
    keys = pa.array([f"row-{i}" for i in range(len(rows))], pa.string())
    return hashed(keys, [text for text, _ in rows], [question for _, question in rows], (WORDS, CHARS))


def hashes(text: str, question: str | None = None) -> list[int]:
    made: list[int] = batch((text, question)).column("hash").to_pylist()
    return made


def meet(document: Pair, item: Pair) -> bool:
    return bool(set(hashes(*document)) & set(hashes(*item)))


def test_a_text_has_a_hash_for_each_ngram_and_one_for_its_whole() -> None:
    made = batch((LEAK, None), (SHORT, SHORT), ("水的沸点是一百度", None))
    # 7 words are 4 n-grams of 4, 3 words are none, 8 characters are 3 n-grams of 6.
    assert made.column("key").to_pylist() == ["row-0"] * 5 + ["row-1"] + ["row-2"] * 4
    assert made.schema == pa.schema([("key", pa.string()), ("hash", pa.int64())])


def test_an_item_is_found_inside_a_longer_document_and_in_other_writing() -> None:
    assert meet((f"It is said: {LEAK.upper()}, and so on.", None), (LEAK, LEAK))
    assert not meet(("A tank holds three litres of water", None), (LEAK, LEAK))


def test_a_short_question_is_found_as_a_whole_alone() -> None:
    assert meet(("what is  ENTROPY?\n\nA measure of disorder.", "what is  ENTROPY?"), (SHORT, SHORT))
    assert meet((SHORT, None), (SHORT, SHORT))
    assert not meet((f"One may ask: {SHORT}", None), (SHORT, SHORT))


def test_the_whole_of_a_pair_is_its_question_without_its_answer() -> None:
    assert meet(("Why?\n\nSo.", "Why?"), ("why?", None))
    assert not meet(("Why?\n\nSo.", "Why?"), ("Why? So.", None))


@given(pairs)
def test_the_hashes_of_a_text_hang_on_no_other(rows: list[Pair]) -> None:
    made = batch(*rows)
    assert made.column("hash").to_pylist() == [one for row in rows for one in hashes(*row)]
    assert set(made.column("key").to_pylist()) == {f"row-{i}" for i in range(len(rows))}


def test_no_text_has_no_hashes_and_the_same_columns() -> None:
    assert (batch().num_rows, batch().schema) == (0, batch((LEAK, None)).schema)


def test_a_benchmark_is_never_taken_for_a_source_of_its_name() -> None:
    assert benchmark_source("exam") == "benchmark:exam"
