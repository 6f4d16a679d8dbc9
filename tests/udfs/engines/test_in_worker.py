"""What the engines inside the workers share, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.udfs.engines.helpers import ask
from tests.udfs.engines.tiny_model import make_tiny_model
from udfs.engines.bounds import Bounds
from udfs.engines.in_worker import Answer, Prompt, by_model, load_tokenizer, prompt_of, result_of, settle, too_long
from udfs.engines.protocol import ChatRequest, EngineSpec, FatalEngineError
from udfs.engines.purse import Amount, Purse


def prompt(tokens: int = 5, **changes: Any) -> Prompt:
    return Prompt(ask(1, **changes), [7] * tokens, 10)


def grouped(requests: list[ChatRequest], window: int) -> list[tuple[str, str]]:
    return [
        (model, "".join(request.request_id for request in same)) for model, same in by_model(iter(requests), window)
    ]


def test_a_model_is_loaded_once_for_the_requests_of_a_window() -> None:
    mixed = [ask(name, model=name.upper() if name in "bdf" else "a") for name in "abcadae"]
    assert [model for model, _ in grouped(mixed, 100)] == ["a", "B", "D"]
    assert grouped([ask(n, model="m") for n in "abcdefg"], 2) == [("m", "abcdefg")]


def test_the_model_that_is_loaded_comes_first_in_the_next_window() -> None:
    turns = [ask(n, model=model) for n, model in enumerate("xyxyxy")]
    assert grouped(turns, 2) == [("x", "0"), ("y", "13"), ("x", "24"), ("y", "5")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def test_a_prompt_follows_the_models_template_and_its_own_parameters(model: str) -> None:
    tokenizer = load_tokenizer(model)
    made = prompt_of(tokenizer, ask("x\ud800", params={"max_tokens": 9}))
    assert tokenizer.decode(made.ids) == "user: question x\ufffd\nassistant: "
    assert made.answer == 9
    tokenizer.chat_template = "{{ 'think' if deep else 'answer' }}"
    spoken = [
        tokenizer.decode(prompt_of(tokenizer, ask(1, params=params)).ids)
        for params in ({}, {"chat_template_kwargs": {"deep": True}})
    ]
    assert spoken == ["answer", "think"]


def test_a_template_that_refuses_the_messages_stops_the_run_with_its_words(model: str) -> None:
    tokenizer = load_tokenizer(model)
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(FatalEngineError, match="chat template of 'stand-in' refuses the messages: System role not"):
        prompt_of(tokenizer, ask(1))


def test_a_model_without_a_template_or_without_a_tokenizer_stops_the_run(model: str, tmp_path: Path) -> None:
    bare = load_tokenizer(model)
    bare.chat_template = None
    bare.save_pretrained(tmp_path / "bare")
    with pytest.raises(FatalEngineError, match="no chat template"):
        load_tokenizer(str(tmp_path / "bare"))
    with pytest.raises(FatalEngineError, match=r"nothing' can not be loaded: \w+"):
        load_tokenizer(str(tmp_path / "nothing"))


def test_a_window_holds_the_prompt_and_the_longest_answer() -> None:
    assert too_long(prompt(5), 15) is None
    refused = too_long(prompt(6), 15)
    assert refused is not None
    assert "6 tokens and 10 for the answer are more than its window of 15" in result_of(prompt(6), refused).error


@pytest.mark.parametrize(
    ("text", "finish", "status", "words"),
    [
        ("<think>hm</think>so", "stop", "ok", ""),
        ("<think>hm", "length", "failed", "max_tokens ran out"),
        ("", "stop", "failed", "empty"),
    ],
)
def test_only_a_text_beside_the_reasoning_is_an_answer(text: str, finish: str, status: str, words: str) -> None:
    result = result_of(prompt(), Answer(text, finish, tokens=3, seconds=0.5))
    assert (result.status, result.finish_reason, result.latency_s) == (status, finish, 0.5)
    assert (result.prompt_tokens, result.completion_tokens, result.served_model) == (5, 3, "stand-in")
    assert words in result.error
    assert ("hm" in result.reasoning) == ("hm" in text)


def test_an_answer_counts_its_tokens_and_a_refusal_a_request_alone() -> None:
    bounds = Bounds(EngineSpec(), prices={"stand-in": (2.0, 10.0)})
    counted: list[Amount] = []
    for answer in (Answer("yes", "stop", 3), Answer(error="too long")):
        bounds.purse = Purse()
        bounds.purse.take(bounds.worst(prompt().request))
        settle(bounds, prompt().request, result_of(prompt(), answer))
        counted.append(bounds.purse.spent)
    assert [(each.requests, each.tokens) for each in counted] == [(1, 8), (1, 0)]
    assert [each.cost for each in counted] == pytest.approx([(5 * 2.0 + 3 * 10.0) / 1e6, 0.0])
