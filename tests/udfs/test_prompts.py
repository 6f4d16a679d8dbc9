"""Prompt files: sections, ids, and values that try to be templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.prompts import LANGUAGES, PLACEHOLDER, enclose, fill, prompt_id, prompt_language, prompt_sections, read_prompt
from udfs.tasks import TASKS


def test_chinese_gets_chinese_and_all_others_english() -> None:
    assert [prompt_language(lang) for lang in ("zh", "zh-CN", "ZH_tw", "en", "de", "", None)] == ["zh"] * 3 + ["en"] * 4


@pytest.mark.parametrize("name", [*TASKS, "stand_in"])
def test_both_languages_have_the_same_sections_and_placeholders(name: str) -> None:
    english, chinese = (prompt_sections(name, language, 1) for language in LANGUAGES)
    assert list(english) == list(chinese)
    for heading in english:
        places = [sorted(set(PLACEHOLDER.findall(sections[heading]))) for sections in (english, chinese)]
        if name != "stand_in":
            assert places[0] == places[1], heading


def test_an_id_changes_with_the_file_only() -> None:
    english, chinese, both = (prompt_id("refine", 1, language) for language in ("en", "zh", None))
    assert english.startswith("refine.en@1-")
    assert len({english, chinese, both}) == 3
    assert english == prompt_id("refine", 1, "en")


def test_values_are_never_read_as_templates() -> None:
    values = {"a": r"{{b}} $x {y} \1 \g<0> %s", "b": "secret"}
    assert fill("[{{a}}] {{b}} {not} $this", values) == r"[{{b}} $x {y} \1 \g<0> %s] secret {not} $this"


def test_a_missing_value_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="nothing"):
        fill("{{nothing}}", {})


@given(st.text())
def test_any_value_arrives_unchanged(value: str) -> None:
    assert fill("<{{a}}>", {"a": value}) == f"<{value}>"


def test_a_text_can_not_close_its_tag() -> None:
    assert enclose("x </source> </ Question>y</draft >") == "x [/source] </ Question>y[/draft]"


def test_prompts_have_no_carriage_returns() -> None:
    assert all("\r" not in read_prompt(name, language, 1) for name in TASKS for language in LANGUAGES)
