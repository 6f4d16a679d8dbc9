"""Quality: what each value measures, the reason a bad text gets, and that good texts pass and score higher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.quality import QualitySettings, first_failure, quality_score, rule_values

PROSE = (
    "A cell is the smallest unit of life. Its membrane lets water and small molecules pass, and it keeps larger ones "
    "out unless a channel opens. Inside, enzymes break down sugar to store energy that the cell will spend later."
)
CHINESE = "细胞是生命的最小单位。细胞膜允许水和小分子通过，大分子则要经过专门的通道才能进出。在细胞内部，酶分解糖类，把能量储存起来，供以后使用。"
WITHOUT_SIGNS = "".join(char for char in CHINESE if char not in "，。")


def value(name: str, text: str, lang: str = "en") -> float:
    return float(rule_values([text], [lang])[name][0])


def failure(text: str, lang: str = "en", thresholds: QualitySettings | None = None) -> str | None:
    return first_failure(rule_values([text], [lang]), [lang], thresholds)[0]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("n_units", "Water boils at 100 degrees. 水沸腾", 8),
        ("n_lines", "one\n\n  \ntwo\n", 2),
        ("unspaced_share", "ab cd 水沸", 0.5),
        ("word_length", "to boil 水", 3),
        ("broken_share", "ab\ufffd\x00", 0.5),
        ("symbol_share", "a, b = {c}", 3 / 7),
        ("digit_share", "ab 12", 0.5),
        ("repeated_line_share", "same line\nother\n same  line\nsame line", 16 / 29),
        ("bullet_line_share", "- one\n* two\nthree\n\n• four", 0.75),
        ("ellipsis_line_share", "more...\nand more…\nend.\n..", 0.5),
        ("repeated_5_share", "a b c d e f " * 2, 0.5),
        ("repeated_10_share", "a b c d e f " * 3, 2 / 3),
        ("repeated_5_share", "一二三四五六七八九十" * 2, 0.5),
        ("top_3_share", "x y z one x y z two x y z", 9 / 11),
        ("top_3_share", "a b c d e f", 0),
        ("stop_words", "The end of the river, and THAT is it", 4),
    ],
)
def test_values(name: str, text: str, expected: float) -> None:
    assert value(name, text) == pytest.approx(expected)


def test_values_of_a_language_are_measured_for_it_alone() -> None:
    values = rule_values([PROSE, CHINESE, PROSE], ["en", "zh", "fr"])
    assert np.isnan(values["stop_words"]).tolist() == [False, True, True]
    assert np.isnan(values["sign_share"]).tolist() == [True, False, True]
    assert values["sign_share"][1] == pytest.approx(7 / 60)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab1 .\n中，#\ufffd", max_size=40), max_size=5))
def test_values_do_not_depend_on_the_batch(texts: list[str]) -> None:
    together = rule_values(texts, ["en"] * len(texts))
    for index, text in enumerate(texts):
        alone = rule_values([text], ["en"])
        assert all(np.array_equal(together[name][index], alone[name][0], equal_nan=True) for name in alone)


@pytest.mark.parametrize(("text", "lang"), [(PROSE, "en"), (CHINESE, "zh"), (PROSE, "fr"), (CHINESE, "und")])
def test_good_texts_pass(text: str, lang: str) -> None:
    assert failure(text, lang) is None


@pytest.mark.parametrize(
    ("text", "lang", "reason"),
    [
        ("A short line.", "en", "too_short_v1"),
        ("水在一百度沸腾。", "zh", "too_short_v1"),
        ("", "und", "too_short_v1"),
        (PROSE.replace("e", "\ufffd"), "en", "broken_characters_v1"),
        ("<<<>>> ### {{}} === ||| " + PROSE[:60] + "}{" * 40, "en", "too_many_symbols_v1"),
        ("Table of values " + "3141 5926 5358 9793 2384 " * 5, "en", "too_many_digits_v1"),
        (" ".join("ACGTTGCAACGTACGTAC" + char for char in "abcdefghijklmnopqrstuvwx"), "en", "odd_word_length_v1"),
        ("Read more here\n" * 9 + PROSE, "en", "repeated_lines_v1"),
        ("Buy the best pills and be happy. " * 12, "en", "too_repetitive_v1"),
        ("买最好的产品就来我们的商店。" * 12, "zh", "too_repetitive_v1"),
        ("\n".join(f"- {word} is a part" for word in PROSE.split()[:12]), "en", "mostly_bullets_v1"),
        ("\n".join(f"{word} goes on with more..." for word in PROSE.split()[:8]), "en", "mostly_ellipses_v1"),
        (" ".join(f"keyword{chr(97 + i)} offer{chr(97 + i)}" for i in range(26)), "en", "no_stop_words_v1"),
        (WITHOUT_SIGNS, "zh", "no_punctuation_v1"),
    ],
)
def test_bad_texts_fail_with_their_reason(text: str, lang: str, reason: str) -> None:
    assert failure(text, lang) == reason


def test_rules_of_english_and_chinese_leave_other_languages_alone() -> None:
    assert failure(WITHOUT_SIGNS, "ja") is None


def test_thresholds_are_settings() -> None:
    assert failure("A short line.", thresholds=QualitySettings(min_units=3)) is None
    assert failure(PROSE, thresholds=replace(QualitySettings(), max_units=10)) == "too_long_v1"


def test_no_texts() -> None:
    values = rule_values([], [])
    assert first_failure(values, []) == []
    assert quality_score(values).tolist() == []


def test_the_score_ranks_as_a_reader_would() -> None:
    repeated = f"{PROSE} {PROSE[:100]}"
    scores = quality_score(rule_values([PROSE * 1, repeated, PROSE[:60], "#" * 50, ""], ["en"] * 5))
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert scores[0] > 0.3
    assert scores[-1] == 0


def test_the_score_is_the_stated_formula() -> None:
    text = " ".join(f"w{chr(97 + i)}" for i in range(26))
    assert quality_score(rule_values([text], ["fr"]))[0] == pytest.approx(26 / (26 + 60))
    assert quality_score(rule_values([text], ["en"]))[0] == pytest.approx(26 / (26 + 60) / 2)


@settings(deadline=None)
@given(
    st.lists(st.text(alphabet="ab1 .\n中，#\ufffd", max_size=60), min_size=1, max_size=4), st.sampled_from(["en", "zh"])
)
def test_scores_lie_between_0_and_1(texts: list[str], lang: str) -> None:
    values = rule_values(texts, [lang] * len(texts))
    for thresholds in (QualitySettings(), QualitySettings(min_units=0, max_symbol_share=0)):
        assert np.all((quality_score(values, thresholds) >= 0) & (quality_score(values, thresholds) <= 1))
