"""Views over the tables: a label counts by its annotator, a draft by its text, a question by its recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.config import Config
from etl.items import current_drafts, judged_questions, labels, question_items
from etl.recipes import draft_recipes, question_recipes
from etl.tables import Tables
from tests.etl.tiny import NOWHERE, document, kept, label, make_config, put
from udfs.text import text_hash

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TEXT, OTHER = "Ice floats on water.", "Water boils at a hundred degrees."


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path / "warehouse")


@pytest.fixture
def tables(spark: SparkSession, config: Config) -> Tables:
    return Tables(spark, config.tables)


def put_question(tables: Tables, config: Config, text: str, name: str = "1", **more: Any) -> None:
    """A draft made of a text by a seed id that is long gone, its refinement and its row in `qa`."""
    made = {"seed_ids": ["an id of old"], "seed_hashes": [text_hash(text)], "lang": "en"}
    recipe = more.pop("recipe_id", question_recipes(config)[0])
    draft = {"draft_id": f"d{name}", "recipe_id": draft_recipes(config)[0], "status": "ok"}
    put(tables, "drafts", [{**draft, **made, **more}])
    said = {"qa_id": f"q{name}", "recipe_id": recipe, "question": "Why?"}
    put(tables, "refinements", [{**said, "draft_id": f"d{name}", "status": "ok", "text_hash": text_hash("Why?")}])
    put(tables, "qa", [{**said, **made, "status": "verified"}])


def judged(tables: Tables, config: Config) -> dict[str, str | None]:
    return {row["qa_id"]: row["reason"] for row in judged_questions(tables, config).collect()}


@pytest.mark.long
def test_a_draft_follows_its_text_to_another_id(tables: Tables, config: Config) -> None:
    put(tables, "documents", [document("new-id", TEXT)])
    put(tables, "curation", [kept("new-id", 0.7)])
    put_question(tables, config, TEXT)
    (draft,) = current_drafts(tables, config).collect()
    assert (draft["draft_id"], draft["seed_id"], draft["seed_quality"]) == ("d1", "new-id", 0.7)
    assert judged(tables, config) == {"q1": None}
    assert [row["item_id"] for row in question_items(tables, config).collect()] == ["q1"]


def test_a_question_whose_text_is_no_seed_any_more_waits_with_a_reason(tables: Tables, config: Config) -> None:
    put(tables, "documents", [document("d", OTHER), document("dropped", TEXT)])
    put(tables, "curation", [kept("d"), {"doc_id": "dropped", "kept": False, "reason": "too_short_v1"}])
    put_question(tables, config, TEXT)
    assert judged(tables, config) == {"q1": "seed_gone"}
    assert current_drafts(tables, config).isEmpty()
    assert question_items(tables, config).isEmpty()


@pytest.mark.long
def test_two_seeds_with_one_cleaned_text_are_one_seed_of_a_draft(tables: Tables, config: Config) -> None:
    put(tables, "documents", [document("b", "Call 111."), document("a", "Call 222.")])
    put(tables, "curation", [kept(name, clean_text="Call [PHONE].") for name in ("a", "b")])
    put_question(tables, config, "Call [PHONE].")
    assert [row["seed_id"] for row in current_drafts(tables, config).collect()] == ["a"]


@pytest.mark.long
def test_what_another_teacher_or_refiner_made_is_left_alone(tables: Tables, config: Config) -> None:
    put(tables, "documents", [document("d", TEXT)])
    put(tables, "curation", [kept("d")])
    put_question(tables, config, TEXT, "1", recipe_id="another refiner's")
    other = make_config(config.tables.warehouse or "", llm={**NOWHERE, "models": {"teacher": "another"}})
    put_question(tables, other, TEXT, "2")
    put_question(tables, config, TEXT, "3", draft_id="d3")
    assert [row["draft_id"] for row in current_drafts(tables, other).collect()] == ["d2"]
    assert {row["draft_id"] for row in current_drafts(tables, config).collect()} == {"d1", "d3"}
    assert [row["item_id"] for row in question_items(tables, config).collect()] == ["q3"]
    assert judged(tables, config) == {"q1": "other_recipe", "q2": "other_recipe", "q3": None}


def test_a_label_is_that_of_the_first_annotator_that_has_one(scratch_tables: Callable[[str], Tables]) -> None:
    tables = scratch_tables("labels")
    put(tables, "annotations", [
        label("both", TEXT, "law", 2, annotator="first"),
        label("both", TEXT, "history", 3, annotator="second"),
        label("one", TEXT, "history", 4, annotator="second"),
        {**label("one", TEXT, "", 0, annotator="first"), "discipline": None, "reason": "low_score"},
        label("old", TEXT, "science", 5, annotator="of other settings"),
    ])  # fmt: skip

    def found(*names: str) -> dict[str, tuple[str, int]]:
        rows = labels(tables, names).collect()
        return {row["item_id"]: (row["discipline"], row["difficulty"]) for row in rows}

    assert found("first", "second") == {"both": ("law", 2), "one": ("history", 4)}
    assert found("second", "first") == {"both": ("history", 3), "one": ("history", 4)}
    assert found("first") == {"both": ("law", 2)}
