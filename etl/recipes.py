"""A recipe: the prompts, models and parameters that a question came through. A mixture takes the recipe of the config only."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from etl.config import Config
from udfs.prompts import LANGUAGES
from udfs.requests import params_json
from udfs.tasks import TASKS

if TYPE_CHECKING:
    from pyspark.sql import Column

BRANCHES = ("multi_grade", "high_difficulty")


def recipe_id(*calls: Column) -> Column:
    """Returns the recipe of a row: `calls` are columns that name prompt, model and parameters, the teacher's first, then the refiner's."""
    from pyspark.sql import functions as F

    return F.sha2(F.concat_ws("|", *calls), 256).substr(1, 32)


def current_recipes(config: Config) -> list[str]:
    """Returns the recipe ids that the config makes now: one per branch and prompt language."""
    models = config.llm.models
    made = []
    for branch in BRANCHES:
        for lang in LANGUAGES:
            draft = _call(branch, lang, models.teacher, config.synthesize.params)
            refined = _call("refine", lang, models.refiner, config.refine.params)
            made.append(hashlib.sha256("|".join([*draft, *refined]).encode()).hexdigest()[:32])
    return made


def _call(task: str, lang: str, model: str, params: dict[str, Any]) -> list[str]:
    return [TASKS[task].prompt_id(lang), model, params_json(params)]
