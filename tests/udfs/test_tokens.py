"""Token counts: the approximation's formula, a local tokenizer.json, and errors that name the setting."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from udfs.tokens import TokenizerError, token_counter

approx = token_counter("approx-v1")


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """A word tokenizer that, like many files on the hub, cuts and pads to 4 tokens."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "water": 1, "boils": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("water boils", 2),
        ("Water boils.", 2 + 1.2),
        ("internationalisation", 1 + 8 * 0.4),
        ("naïve", 1 + 0.4),
        ("1905", 4),
        ("水的沸点", 4 * 0.65),
        ("水 H2O", 0.65 + 2 + 1),
        ("...", 1.2 + 2 * 0.2),
        ("a\n\nb", 2 + 0.45),
    ],
)
def test_the_stated_formula(text: str, tokens: float) -> None:
    assert approx([text]) == [math.ceil(round(tokens, 2))]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab1. \n中é", max_size=30), max_size=6))
def test_counts_do_not_depend_on_the_batch(texts: list[str]) -> None:
    assert approx(texts) == [approx([text])[0] for text in texts]


@settings(deadline=None)
@given(st.text(alphabet="ab1. \n中é", max_size=60), st.integers(0, 60))
def test_a_part_never_has_more_tokens_than_the_whole(text: str, end: int) -> None:
    assert approx([text[:end]]) <= approx([text])


def test_a_tokenizer_file_counts_whole_texts_without_padding(tokenizer_file: Path) -> None:
    count = token_counter(str(tokenizer_file))
    assert count(["water boils", "water boils at 100 degrees", ""]) == [2, 5, 0]


def test_a_folder_stands_for_the_file_in_it(tokenizer_file: Path) -> None:
    assert token_counter(str(tokenizer_file.parent))(["water"]) == [1]


def test_a_tokenizer_is_loaded_once_a_process(tokenizer_file: Path) -> None:
    assert token_counter(str(tokenizer_file)) is token_counter(str(tokenizer_file))


@pytest.mark.parametrize("content", ["not json", '{"a": 1}'])
def test_a_malformed_file_is_named_with_the_setting(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(TokenizerError, match=r"ingest\.tokenizer: .*bad\.json is not a tokenizer\.json"):
        token_counter(str(path))


@pytest.mark.parametrize("name", ["nowhere/tokenizer.json", "./nowhere", "~/nowhere-at-all/x.json"])
def test_a_missing_file_is_named_with_the_setting(name: str) -> None:
    with pytest.raises(TokenizerError, match=r"ingest\.tokenizer: there is no file .*nowhere"):
        token_counter(name)


def test_a_hub_name_that_cannot_be_had_is_named_with_the_setting() -> None:
    with pytest.raises(TokenizerError, match=r"ingest\.tokenizer: no such name can't be loaded from the hub"):
        token_counter("no such name")
