"""Recipes: another prompt, model or parameter is another recipe, at the stage where it counts; nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from etl.recipes import draft_recipes, question_recipes, recipe_id
from tests.etl.tiny import NOWHERE, make_config

PLAIN = make_config("warehouse")


def changed(**sections: Any) -> tuple[bool, bool]:
    """Whether the recipes of drafts, and those of questions, are others under these settings."""
    config = make_config("warehouse", llm={**NOWHERE, **sections.pop("llm", {})}, **sections)
    drafts, questions = (set(of(PLAIN)).isdisjoint(of(config)) for of in (draft_recipes, question_recipes))
    return drafts, questions


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"llm": {"models": {"teacher": "another"}}}, (True, True)),
        ({"synthesize": {"params": {"temperature": 0.123}}}, (True, True)),
        ({"llm": {"models": {"refiner": "another"}}}, (False, True)),
        ({"refine": {"params": {"temperature": 0.123}}}, (False, True)),
        ({"llm": {"models": {"judge": "another"}}}, (False, False)),
        ({"synthesize": {"tokens_per_question": 7}}, (False, False)),
    ],
)
def test_a_recipe_hangs_on_prompts_models_and_parameters(sections: dict[str, Any], expected: tuple[bool, bool]) -> None:
    assert changed(**sections) == expected


def test_every_branch_and_language_has_a_recipe_of_its_own() -> None:
    assert len(set(draft_recipes(PLAIN))) == len(draft_recipes(PLAIN)) == 4
    assert len(set(question_recipes(PLAIN))) == 4


def test_a_question_of_the_same_refiner_has_the_recipe_of_its_draft_in_its_own() -> None:
    call = ("refine@1", "model", "{}")
    assert recipe_id(*call, before="one teacher") != recipe_id(*call, before="another")
