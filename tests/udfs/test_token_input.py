"""Token ids as a model's inputs: special tokens, padding on either side, inputs of zeros; no model."""

from __future__ import annotations

import numpy as np

from udfs.token_input import InputForm, Tokens, token_ids, unknown_id


def ids(*values: int) -> Tokens:
    return np.array(values, dtype=np.int32)


def test_texts_are_padded_to_the_longest_with_their_special_tokens() -> None:
    form = InputForm(ids(101), ids(102), 0, False, ("token_type_ids",))
    made = form.inputs([ids(7, 8), ids(), ids(9)])
    assert form.specials == 2
    assert made["input_ids"].tolist() == [[101, 7, 8, 102], [101, 102, 0, 0], [101, 9, 102, 0]]
    assert made["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert not made["token_type_ids"].any()
    assert made["token_type_ids"].shape == (3, 4)


def test_padding_stands_before_the_text_where_the_model_wants_it_there() -> None:
    made = InputForm(ids(), ids(2), 1, True, ()).inputs([ids(7, 8), ids(9)])
    assert made["input_ids"].tolist() == [[7, 8, 2], [1, 9, 2]]
    assert made["attention_mask"].tolist() == [[1, 1, 1], [0, 1, 1]]
    assert set(made) == {"input_ids", "attention_mask"}


def test_bare_tokenizers_are_read_too() -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = Tokenizer(WordLevel({"[UNK]": 0, "good": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    assert unknown_id(words) == 0
    assert [one.tolist() for one in token_ids(words, ["good odd", "", *["good"] * 300])][:3] == [[1, 0], [], [1]]
    assert len(token_ids(words, ["good"] * 300)) == 300
