"""Passages: within the bound, nothing lost, cut where a reader would."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.passages import Passage, split_passages
from udfs.tokens import token_counter

approx = token_counter("approx-v1")
DATA = Path(__file__).parents[3] / "shared" / "data"


def by_words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def by_characters(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


def bodies(passages: list[Passage]) -> list[str]:
    return [passage.text for passage in passages]


def sentence(n_words: int, mark: str = "w") -> str:
    return " ".join([mark.upper(), *[mark] * (n_words - 1)]) + "."


@settings(deadline=None)
@given(
    st.text(alphabet="aB1 .!?\n#-`~。，第章\u0301\u3000", max_size=200),
    st.integers(1, 30),
    st.sampled_from([by_words, by_characters, approx]),
)
def test_bound_offsets_and_coverage(text: str, bound: int, count: object) -> None:
    assert callable(count)
    passages = split_passages(text, bound + 1, count)  # the costliest character of approx-v1 has 2 tokens
    assert "".join("".join(p.text.split()) for p in passages) == "".join(text.split())
    for passage in passages:
        assert text[passage.offset : passage.offset + len(passage.text)] == passage.text == passage.text.strip()
        assert 0 < passage.n_tokens <= bound + 1
        assert [passage.n_tokens] == count([passage.text])


def test_a_text_within_the_bound_stays_whole() -> None:
    assert split_passages("\n One.\n\nTwo. ", 2, by_words) == [Passage(2, "One.\n\nTwo.", 2)]
    assert split_passages(" \n", 2, by_words) == []


def test_it_cuts_at_paragraph_ends_first() -> None:
    paragraphs = [sentence(6) + " " + sentence(3, "x"), sentence(8, "y"), sentence(9, "z")]
    assert bodies(split_passages("\n\n".join(paragraphs), 12, by_words)) == paragraphs


def test_a_long_paragraph_is_cut_at_sentences() -> None:
    text = " ".join([sentence(5, "a"), sentence(5, "b"), sentence(5, "c"), sentence(5, "d")])
    assert bodies(split_passages(text, 12, by_words)) == [
        f"{sentence(5, 'a')} {sentence(5, 'b')}",
        f"{sentence(5, 'c')} {sentence(5, 'd')}",
    ]


def test_chinese_is_cut_at_sentences_and_then_at_clauses() -> None:
    text = "水在一百度沸腾，冰在零度融化，二者都与气压有关。山上的水沸点低。"
    assert bodies(split_passages(text, 24, by_characters)) == [text[:24], text[24:]]
    assert bodies(split_passages(text[:24], 15, by_characters)) == [text[:15], text[15:24]]


def test_text_without_any_break_is_cut_hard() -> None:
    assert [len(body) for body in bodies(split_passages("x" * 40, 10, by_characters))] == [10, 10, 10, 10]


def test_a_short_last_paragraph_is_not_left_alone() -> None:
    paragraphs = [sentence(4, mark) for mark in "abcde"] + ["The end."]
    assert [p.n_tokens for p in split_passages("\n\n".join(paragraphs), 20, by_words)] == [12, 10]


@pytest.mark.parametrize("heading", ["## Boiling", "Boiling and freezing", "第二章 沸腾"])
def test_a_heading_stays_with_what_follows(heading: str) -> None:
    text = "\n\n".join([sentence(8, "a"), heading, sentence(8, "b")])
    assert bodies(split_passages(text, 12, by_words)) == [sentence(8, "a"), f"{heading}\n\n{sentence(8, 'b')}"]


def test_a_fenced_block_is_kept_together() -> None:
    code = "```python\nfirst()\n\nsecond()\n```"
    text = f"{sentence(4)}\n\n{code}\n\n{sentence(4)}"
    assert code in bodies(split_passages(text, 7, by_words))[0] + bodies(split_passages(text, 7, by_words))[1]


def test_marks_stay_with_their_letter() -> None:
    assert all(body[0] == "e" for body in bodies(split_passages("e\u0301" * 9, 5, by_characters)))


def test_a_counter_that_is_not_additive_still_gets_its_bound() -> None:
    def dearer_together(texts: list[str]) -> list[int]:
        return [len(text.split()) + 5 * text.count("\n\n") for text in texts]

    passages = split_passages("\n\n".join(sentence(3, mark) for mark in "abcdefg"), 10, dearer_together)
    assert all(passage.n_tokens <= 10 for passage in passages)
    assert sum(len(passage.text.split()) for passage in passages) == 21


def test_bounds_that_cannot_be_kept_are_errors() -> None:
    with pytest.raises(ValueError, match="max_tokens is 0"):
        split_passages("text", 0, by_words)
    with pytest.raises(ValueError, match="max_tokens is 2, but the character at offset 3 alone has 3"):
        split_passages("ab 字", 2, lambda texts: [len(text.encode()) for text in texts])


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
def test_real_books_are_split_without_loss() -> None:
    files = [*sorted(DATA.glob("en/economics/*.md"))[:5], *sorted(DATA.glob("zh/oi_wiki/**/*.md"))[:5]]
    for text in (path.read_text("utf-8") for path in files):
        passages = split_passages(text, 300, approx)
        assert "".join("".join(p.text.split()) for p in passages) == "".join(text.split())
        assert max(passage.n_tokens for passage in passages) <= 300


def test_parts_without_tokens_are_kept_too() -> None:
    def letters(texts: list[str]) -> list[int]:
        return [sum(char.isalpha() for char in text) for text in texts]

    assert bodies(split_passages("aaaa\n\nbbbb\n\n...", 4, letters)) == ["aaaa", "bbbb", "..."]
