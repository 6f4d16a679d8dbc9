"""What the rules find in a text, in both languages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from udfs.engines.teacher_text import field_scores, find_facts, language_of, reading_level, sentences, topic_of

ENGLISH = (
    "Photosynthesis is the process by which plants turn light into chemical energy. It occurs in chloroplasts of a cell. "
    "The rate rises because warmer leaves have faster enzymes. A typical leaf reflects 5.5% of the light. "
    "Chlorophyll absorbs mostly blue and red light."
)
CHINESE = "光合作用是指绿色植物利用光能合成有机物的过程。因为温度升高，所以酶的活性增强。叶片大约反射5%的光。叶绿素主要吸收红光和蓝光。"


def test_the_language_is_told_by_the_characters() -> None:
    assert [language_of(text) for text in (ENGLISH, CHINESE, "CO2 光合作用", "")] == ["en", "zh", "zh", "en"]


def test_sentences_lose_markup_and_fragments() -> None:
    text = "# Heading that is long enough to count\n\nToo short. **Bold** words stand in this sentence here."
    assert sentences(text, "en") == ["Heading that is long enough to count", "Bold words stand in this sentence here."]


def test_each_english_sentence_gives_its_most_telling_fact() -> None:
    facts = find_facts(ENGLISH, "en")
    assert [fact.kind for fact in facts] == ["definition", "cause", "number", "statement"]
    definition, cause, number, _ = (fact.parts for fact in facts)
    assert (definition["subject"], definition["verb"]) == ("Photosynthesis", "is")
    assert definition["rest"] == "the process by which plants turn light into chemical energy"
    assert (cause["effect"], cause["reason"]) == ("The rate rises.", "Warmer leaves have faster enzymes.")
    assert (number["number"], number["double"]) == ("5.5", "11")
    assert number["cloze"] == "A typical leaf reflects ____% of the light."


def test_each_chinese_sentence_gives_its_most_telling_fact() -> None:
    facts = find_facts(CHINESE, "zh")
    assert [fact.kind for fact in facts] == ["definition", "cause", "number", "statement"]
    definition, cause, number, _ = (fact.parts for fact in facts)
    assert (definition["subject"], definition["rest"]) == ("光合作用", "绿色植物利用光能合成有机物的过程")
    assert (cause["effect"], cause["reason"]) == ("酶的活性增强。", "温度升高。")
    assert (number["number"], number["double"]) == ("5", "10")


def test_a_text_without_anything_better_still_gives_something() -> None:
    assert [fact.kind for fact in find_facts("It was there when they came back from it.", "en")] == ["statement"]
    assert find_facts("", "en") == []


def test_the_topic_is_the_most_frequent_word() -> None:
    assert topic_of("Enzymes split. enzymes join. The substrate waits.", "en") == "enzymes"
    assert topic_of("酶的活性，酶的结构，活性", "zh") == "活性"


def test_reading_levels_order_plain_and_learned_prose() -> None:
    plain = "The cat sat on the mat. The dog ran to the park. We like to play."
    learned = (
        "Thermodynamic irreversibility, notwithstanding microscopic reversibility, characterises macroscopic "
        r"phenomenological descriptions whose entropy production satisfies $\dot{S} = \sum_i J_i X_i \geq 0$ everywhere."
    )
    assert reading_level(plain) == 1
    assert reading_level(plain) < reading_level(ENGLISH) < reading_level(learned)


def test_a_field_scores_by_the_terms_that_few_fields_share() -> None:
    menu = "- biology: plants, cells, energy 生物 植物\n- physics: energy, motion 物理\n- law: courts 法律"
    assert max(field_scores(ENGLISH, menu).items(), key=lambda item: item[1])[0] == "biology"
    assert field_scores(CHINESE, menu) == {"biology": 1.0, "physics": 0.0, "law": 0.0}


@given(st.text(max_size=300))
def test_no_text_breaks_the_rules(text: str) -> None:
    assert 1 <= reading_level(text) <= 5
    assert all(fact.parts["sentence"] for fact in find_facts(text, language_of(text)))
