"""The stand-in as cluster agent: clusters by shared words, in answers that fit the real tasks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.udfs.engines.test_teacher_rules import solve

LEAVES = ["A leaf turns sunlight into sugar.", "Sunlight reaches a leaf in the morning."]
COURTS = ["The court heard the contract dispute.", "A contract dispute ends in court."]
MIXED = [LEAVES[0], COURTS[0], LEAVES[1], "Ships float.", COURTS[1]]
CHINESE = ["光合作用需要阳光和叶片。", "叶片在阳光下进行光合作用。", "法院审理合同纠纷。"]


def clusters(texts: list[str], lang: str = "en") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = solve("cluster_texts", lang=lang, texts=texts, criteria="- any: Any.")
    return found


@pytest.mark.parametrize(
    ("lang", "texts", "members"), [("en", MIXED, [[1, 3], [2, 5], [4]]), ("zh", CHINESE, [[1, 2], [3]])]
)
def test_texts_that_share_words_form_a_cluster(lang: str, texts: list[str], members: list[list[int]]) -> None:
    assert [cluster["members"] for cluster in clusters(texts, lang)] == members
    assert clusters(texts, lang) == clusters(texts, lang)


def test_a_text_of_many_lines_is_one_sample() -> None:
    assert len(clusters(["A leaf.\n\nIts sunlight.", "Courts\ndecide."])) == 2


def test_a_cluster_without_a_word_in_common_is_not_valid() -> None:
    wrong = [{"cluster": 1, "members": [1, 2], "reasoning": ""}, {"cluster": 2, "members": [3], "reasoning": ""}]
    said = solve("cluster_verify", lang="en", texts=[LEAVES[0], COURTS[0], LEAVES[1]], clusters=wrong)
    assert [each["valid"] for each in said] == [False, True]
    right = clusters(MIXED)
    assert all(each["valid"] for each in solve("cluster_verify", lang="zh", texts=MIXED, clusters=right))


def test_criteria_name_the_topics_of_the_texts() -> None:
    value = solve("cluster_criteria", lang="en", texts=MIXED)
    assert {"sunlight", "contract"} <= {each["name"] for each in value["metadata"]}
    assert len(value["metrics"]) == 3
