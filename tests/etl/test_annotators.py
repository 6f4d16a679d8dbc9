"""The names of annotators: the same for the same settings, another for each setting that a label hangs on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etl.annotators import annotators, llm_menu, llm_name, zero_shot_name
from etl.config import packaged
from tests.etl.tiny import NOWHERE, make_config
from udfs.taxonomy import parse_taxonomy

TAXONOMY = parse_taxonomy(packaged("taxonomy.yaml"), "taxonomy.yaml")
MOVED = replace(TAXONOMY, fields=(replace(TAXONOMY.fields[0], discipline="law"), *TAXONOMY.fields[1:]))


@pytest.mark.parametrize(
    ("annotate", "kinds"),
    [
        ({"annotator": "zero_shot", "fallback": "llm"}, ["zero_shot", "llm"]),
        ({"annotator": "zero_shot", "fallback": "none"}, ["zero_shot"]),
        ({"annotator": "llm", "fallback": "llm"}, ["llm"]),
        ({"annotator": "llm", "fallback": "none"}, ["llm"]),
    ],
)
def test_the_first_choice_comes_first(annotate: dict[str, str], kinds: list[str]) -> None:
    found = annotators(make_config("w", annotate=annotate), TAXONOMY)
    assert [name.split("@")[0] for name in found] == kinds


@pytest.mark.parametrize(
    "change", [{"annotate": {"min_score": 0.9}}, {"embed": {"max_unknown_share": 0.5}}, {"embed": {"model": "other"}}]
)
def test_what_a_zero_shot_label_hangs_on_is_in_the_name(change: dict[str, Any]) -> None:
    mine = zero_shot_name(make_config("w"), TAXONOMY)
    assert zero_shot_name(make_config("elsewhere"), TAXONOMY) == mine
    assert zero_shot_name(make_config("w", **change), TAXONOMY) != mine
    assert zero_shot_name(make_config("w"), MOVED) != mine


@pytest.mark.parametrize(
    "change", [{"annotate": {"params": {"temperature": 0.9}}}, {"llm": {**NOWHERE, "models": {"annotator": "other"}}}]
)
def test_what_a_label_of_the_llm_hangs_on_is_in_the_name(change: dict[str, Any]) -> None:
    mine = llm_name(make_config("w"), TAXONOMY)
    assert llm_name(make_config("w", annotate={"min_score": 0.9}), TAXONOMY) == mine
    assert llm_name(make_config("w", **change), TAXONOMY) != mine
    assert llm_name(make_config("w"), MOVED) != mine


def test_the_menu_names_every_field_in_both_languages() -> None:
    menu = llm_menu(TAXONOMY)
    assert set(menu) == {f.id for f in TAXONOMY.fields}
    assert "Philosophy / 哲学" in menu["general_philosophy"]
