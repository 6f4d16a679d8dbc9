"""The page as text, without a browser or a JVM."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.report.figures import Benchmark, CellMap, Figures, Reason, Stage, Text
from etl.report.page import compact, duration, money, render, sample_json, words
from tests.etl.report.example import CALLS, FACTS, figures, question

HOSTILE = "</script><script>alert(1)</script></style><img src=x onerror=alert(1)>\"'&amp;<!--\u2028\u2029]]>"


class Page(HTMLParser):
    """The elements and attributes of a page, and what stands in its scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem in self.raw:
            self.raw[str(self.cdata_elem)].append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def sample(self) -> dict[str, Any]:
        return dict(json.loads(self.raw["script"][0]))


def hostile_figures() -> Figures:
    text = Text(HOSTILE, HOSTILE, 'en" onload="alert(1)', HOSTILE)
    bad = question(0, question=HOSTILE, answer=HOSTILE, seed=HOSTILE, reason=HOSTILE, discipline=HOSTILE, qa_id=HOSTILE)
    return figures(
        facts=replace(FACTS, name=HOSTILE, warehouse=HOSTILE),
        reasons=(Reason("seeds", HOSTILE, 1, (text,)),),
        funnel=(Stage("seeds", "passages", 1, {HOSTILE: 1}),),
        maps=(CellMap("questions", {(HOSTILE, 1): 1.0}),),
        calls=(replace(CALLS, model=HOSTILE),),
        benchmarks=(Benchmark(HOSTILE, HOSTILE, 1, 1),),
        sample=(bad,),
    )


def test_no_text_becomes_markup_or_script() -> None:
    plain, hostile = Page(render(figures())), Page(render(hostile_figures()))
    assert "alert(1)" in hostile.text
    assert {tag for tag, _ in hostile.tags} <= {tag for tag, _ in plain.tags}
    assert all(not name.startswith("on") for _, attrs in hostile.tags for name in attrs)
    assert hostile.raw["style"] == plain.raw["style"]
    assert hostile.raw["script"][1:] == plain.raw["script"][1:]


def test_the_sample_comes_back_as_it_was() -> None:
    page = Page(render(hostile_figures()))
    row = dict(zip(page.sample["columns"], page.sample["rows"][0], strict=True))
    assert (row["question"], row["answer"], row["seed"]) == (HOSTILE, HOSTILE, HOSTILE)


@given(st.text(max_size=200))
def test_any_text_stays_one_json_block(text: str) -> None:
    block = sample_json(Figures(FACTS, sample=(question(0, question=text),)))
    page = Page(f'<script type="application/json">{block}</script>')
    assert page.sample["rows"][0][page.sample["columns"].index("question")] == text


def test_the_policy_lets_only_the_pages_own_script_and_style_run() -> None:
    page = Page(render(figures()))
    policy = next(
        a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    digests = re.findall(r"sha256-([^']+)'", str(policy))
    run = [page.raw["script"][1], page.raw["style"][0]]
    assert digests == [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in run]
    assert "default-src 'none'" in str(policy)
    assert "unsafe" not in str(policy)


def test_nothing_is_fetched() -> None:
    tags = Page(render(figures())).tags
    assert [a for _, a in tags if {"src", "srcset", "style"} & set(a)] == []
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    assert all(str(a["href"]).startswith("#") for t, a in tags if t == "a")


@pytest.mark.parametrize(("model", "said"), [("stand-in", True), ("some-model", False)])
def test_answers_of_the_stand_in_are_called_placeholders(model: str, said: bool) -> None:
    text = Page(render(figures(calls=(replace(CALLS, model=model), CALLS)))).text
    sentence = "placeholders: they come from a rule-based stand-in, not from a language model"
    assert (sentence in text) is said


def test_an_empty_warehouse_makes_a_page_that_says_so() -> None:
    text = Page(render(Figures(FACTS))).text
    for sentence in ("No question has been verified yet", "Dedup has not run yet", "No LLM has been called"):
        assert sentence in text
    for sentence in ("Nothing has been measured yet", "Nothing has been dropped", "Every record could be read"):
        assert sentence in text


def test_what_stands_on_the_page() -> None:
    text = Page(render(figures())).text
    for shown in (
        "10 bad json",
        "not run",
        "0.9750 of 40 pairs",
        "cosine 0.9100",
        "38.5 to 41.5",
        "123k",
        "5 without a label are not shown",
        "1 × refine: HTTP 500",
        "no closing brace",
        "unknown tokens 20 80 25.0 %",
        "1 min 15 s",
    ):
        assert shown in text


def test_texts_carry_their_language_and_find_their_own_direction() -> None:
    texts = [a for t, a in Page(render(figures())).tags if t == "p" and a.get("class") == "text"]
    assert {a["lang"] for a in texts} == {"en", "zh", ""}
    assert all(a["dir"] == "auto" for a in texts)


def test_a_screen_reader_finds_its_way() -> None:
    page = Page(render(figures()))
    ids = {a["id"] for _, a in page.tags if "id" in a}
    named = [a["aria-labelledby"] for t, a in page.tags if t == "section"]
    links = [str(a["href"])[1:] for t, a in page.tags if t == "a" and not str(a["href"]).startswith("#sample&")]
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.tags}
    assert set(named) | set(links) <= ids
    assert len(named) == 11
    assert {a["for"] for t, a in page.tags if t == "label"} == {a["id"] for t, a in page.tags if t == "select"}
    assert all("scope" in a for t, a in page.tags if t == "th")


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_apart(scheme: int) -> None:
    style = Page(render(figures())).raw["style"][0]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", style.split("@media (prefers-color-scheme: dark)")[scheme]))
    on_page = [(name, "page") for name in ("text", "quiet", "link", "bar", "lost", "bad", "good")]
    pairs = [*on_page, ("text", "panel"), ("quiet", "panel"), ("warn-text", "warn")]
    pairs += [("on-shade", f"s{i}") for i in range(1, 6)]
    assert {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs if contrast(colours[pair[0]], colours[pair[1]]) < 4.5} == {}  # fmt: skip


def test_figures_are_written_for_people() -> None:
    assert [compact(n) for n in (0, 9999, 12345, 123456, 1_250_000, 2e9)] == [
        "0",
        "9,999",
        "12.3k",
        "123k",
        "1.2M",
        "2.0G",
    ]
    assert [duration(s) for s in (1.26, 61, 7260)] == ["1.3 s", "1 min 1 s", "2 h 1 min"]
    assert [money(amount) for amount in (0, 0.0123, 1234.5)] == ["0.00", "0.0123", "1,234.50"]
    assert words("near_duplicate_v1") == "near duplicate"


def test_each_benchmark_has_its_rows_and_items() -> None:
    assert "Items met some exam ngram 17 6" in Page(render(figures())).text
    assert "No benchmark is protected" in Page(render(figures(benchmarks=()))).text
