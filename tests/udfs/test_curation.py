"""What curation finds in a document's own text: rules by kind, personal data by field, and the keys that duplicates meet by."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.curation import FEATURES_DDL, CurationSettings, features, personal_data
from udfs.minhash import MinHashSettings
from udfs.quality import QualitySettings

SETTINGS = CurationSettings(QualitySettings(), MinHashSettings(), "redact")
RIVER = (
    "A river begins in the hills, where rain and melting snow run together into small streams. The streams join, grow "
    "slower and wider on the plain, and carry sand and clay with them until the water meets the sea at a broad mouth."
)
PAIR = "What is 7 x 8?\n\nThe product of seven and eight is 56."
CHINESE = "光合作用是植物利用光能，把二氧化碳和水转化为糖并放出氧气的过程。它发生在叶绿体中，需要光。"
MAIL = "Write to lin@example.org."


def row(text: str, kind: str = "passage", lang: str = "en", **more: Any) -> dict[str, Any]:
    return {
        "doc_id": text[:9],
        "document_hash": 7,
        "text": text,
        "question": None,
        "answer": None,
        "lang": lang,
        "kind": kind,
        **more,
    }


ROWS = [row(RIVER), row(PAIR, "qa"), row(PAIR), row(CHINESE, lang="zh"), row(" \n "), row(MAIL, lang="und")]
COLUMNS = pa.schema([(name, pa.int64() if name == "document_hash" else pa.string()) for name in ROWS[0]])


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, COLUMNS)


def found(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = features(batch(list(rows)), SETTINGS).to_pylist()
    return made


def names(ddl: str) -> list[str]:
    return [column.split()[0] for column in ddl.split(", ")]


@given(st.lists(st.sampled_from(ROWS), max_size=5))
def test_a_document_is_judged_alike_in_any_batch(rows: list[dict[str, Any]]) -> None:
    made = features(batch(rows), SETTINGS)
    assert made.schema.names == names(FEATURES_DDL)
    assert made.to_pylist() == [features(batch([one]), SETTINGS).to_pylist()[0] for one in rows]


def test_a_short_pair_is_no_short_passage() -> None:
    pair, passage = found(row(PAIR, "qa"), row(PAIR))
    assert (pair["reason"], passage["reason"]) == (None, "too_short_v1")
    assert found(row("Why? So.", "qa"))[0]["reason"] == "too_short_v1"


def test_rules_that_judge_no_such_text_have_no_value() -> None:
    english, chinese, other = (dict(one["rules"]) for one in found(row(RIVER), ROWS[3], row(RIVER, lang="fr")))
    assert ("stop_words" in english, "sign_share" in english) == (True, False)
    assert ("stop_words" in chinese, "sign_share" in chinese) == (False, True)
    assert not {"stop_words", "sign_share"} & set(other)
    assert english["n_units"] == len(RIVER.split())


def test_equal_texts_meet_by_their_hash_and_near_ones_by_a_band() -> None:
    same, shouted, near, other = found(
        row(RIVER), row(f"\n {RIVER.upper()}"), row(RIVER.replace("broad", "wide")), row(CHINESE)
    )
    assert same["normal_hash"] == shouted["normal_hash"] != near["normal_hash"]
    assert set(same["bands"]) & set(near["bands"])
    assert not set(same["bands"]) & set(other["bands"])
    assert len(same["bands"]) == SETTINGS.minhash.bands


def test_blank_texts_meet_no_other_by_a_band() -> None:
    assert [one["bands"] for one in found(row(" \n "), row(""))] == [[], []]


@pytest.mark.parametrize(
    ("policy", "kinds", "clean"),
    [("redact", ["email", "phone"], "Ask <email>?"), ("flag", ["email", "phone"], None), ("off", [], None)],
)
def test_personal_data_of_all_fields_is_told_and_only_touched_fields_are_cleaned(
    policy: str, kinds: list[str], clean: str | None
) -> None:
    rows = [row("Nothing here.", "qa", question="Ask lin@example.org?", answer="Call +1 202-555-0143."), row("Clean.")]
    made = pa.RecordBatch.from_pydict(personal_data(batch(rows), policy)).to_pylist()
    assert made[0]["personal_data"] == kinds
    assert (made[0]["clean_text"], made[0]["clean_question"]) == (None, clean)
    assert made[0]["clean_answer"] == ("Call <phone>." if clean else None)
    assert made[1] == {"personal_data": [], "clean_text": None, "clean_question": None, "clean_answer": None}
