"""A recipe: the prompts, models and parameters that a question came through. A mixture takes the recipes of the config only."""

from __future__ import annotations

from typing import Any

from etl.config import Config
from udfs.prompts import LANGUAGES
from udfs.requests import params_json
from udfs.tasks import TASKS
from udfs.text import stable_id

BRANCHES = ("multi_grade", "high_difficulty")


def recipe_id(prompt_id: str, model: str, params: str, before: str = "") -> str:
    """Returns the recipe of a row that a call made; `before` is that of the row it was made from (a draft's, for a refined question)."""
    return stable_id(before, prompt_id, model, params)


def draft_recipes(config: Config) -> list[str]:
    """Returns the recipe ids of the drafts that the config's teacher makes: one per branch and prompt language."""
    return [_draft(config, branch, lang) for branch in BRANCHES for lang in LANGUAGES]


def question_recipes(config: Config) -> list[str]:
    """Returns the recipe ids of the questions that the config makes: its teacher's drafts after its refiner."""
    refiner, params = config.llm.models.refiner, config.refine.params
    return [
        _recipe("refine", lang, refiner, params, _draft(config, branch, lang))
        for branch in BRANCHES
        for lang in LANGUAGES
    ]


def _draft(config: Config, branch: str, lang: str) -> str:
    return _recipe(branch, lang, config.llm.models.teacher, config.synthesize.params)


def _recipe(task: str, lang: str, model: str, params: dict[str, Any], before: str = "") -> str:
    return recipe_id(TASKS[task].prompt_id(lang), model, params_json(params), before)
