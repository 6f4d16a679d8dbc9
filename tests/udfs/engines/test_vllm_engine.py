"""vLLM inside the process, on a tiny model with random weights: `make test-vllm` runs this with vLLM's build for CPUs."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import weakref
from collections.abc import Iterator
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.udfs.engines.helpers import ask
from tests.udfs.engines.tiny_model import NO_VLLM, TINY_VLLM, WINDOW, make_tiny_model
from udfs.engines import load_engine
from udfs.engines.bounds import Bounds
from udfs.engines.in_worker import load_tokenizer
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.engines.purse import Amount, Purse
from udfs.engines.vllm_engine import AHEAD, VllmEngine

if find_spec("vllm") is None:
    pytest.skip(NO_VLLM, allow_module_level=True)


def spec(**changes: Any) -> EngineSpec:
    return EngineSpec(**{"kind": "vllm", "batch_size": 4, "engine_args": json.dumps(TINY_VLLM), **changes})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmEngine]:
    made = VllmEngine(spec())
    yield made
    made.close()


def requests(model: str, *names: str, json_schema: dict[str, Any] | None = None, **params: object) -> list[ChatRequest]:
    given = {"max_tokens": 12, "temperature": 0.0, **params}
    return [ask(name, model=model, params=given, json_schema=json_schema) for name in names]


def answers(engine: VllmEngine, model: str, *names: str, **changes: Any) -> dict[str, ChatResult]:
    return {result.request_id: result for result in engine.complete(requests(model, *names, **changes))}


def test_every_request_has_its_result_whatever_it_runs_beside(engine: VllmEngine, model: str) -> None:
    names = ["a", "a longer one", "b", "c", "the longest of them all", *"defghijkl"]
    together = answers(engine, model, *names)
    assert set(together) == set(names)
    for name in names[:5]:
        # Another call is another event loop, on the same loaded model.
        alone = answers(engine, model, name)[name]
        assert (together[name].response, together[name].completion_tokens) == (alone.response, alone.completion_tokens)
        assert together[name].prompt_tokens == alone.prompt_tokens > 10
        assert (together[name].served_model, together[name].status, alone.attempts) == (model, "ok", 1)


def test_it_says_what_transformers_says(engine: VllmEngine, model: str) -> None:
    from udfs.engines.transformers_engine import TransformersEngine

    names, other = ["one", "two", "a third, longer one"], TransformersEngine(EngineSpec(device="cpu"))
    theirs = {result.request_id: result for result in other.complete(requests(model, *names))}
    ours = answers(engine, model, *names)
    # Of a character that is not complete at the end, transformers tells by a sign.
    said = {name: result.response.removesuffix("\ufffd") for name, result in theirs.items()}
    assert {name: result.response for name, result in ours.items()} == said
    assert all(len(text) > 5 for text in said.values())
    assert [ours[name].prompt_tokens for name in names] == [theirs[name].prompt_tokens for name in names]


def test_an_answer_comes_when_it_is_ready_while_others_go_on(engine: VllmEngine, model: str) -> None:
    long, short = (requests(model, name, max_tokens=most, ignore_eos=True) for name, most in (("L", 90), ("S", 2)))
    assert [result.request_id for result in engine.complete([*long, *short])] == ["S", "L"]


def test_an_answer_that_fills_its_bound_is_cut(engine: VllmEngine, model: str) -> None:
    result = answers(engine, model, "cut", max_tokens=5)["cut"]
    assert (result.finish_reason, result.completion_tokens) == ("length", 5)
    assert 0 < result.latency_s < 60


def test_a_prompt_over_the_window_fails_alone(engine: VllmEngine, model: str) -> None:
    results = answers(engine, model, "short", "long " * 40)
    assert results["short"].status == "ok"
    assert results["long " * 40].status == "failed"
    assert f"more than its window of {WINDOW}" in results["long " * 40].error


def test_sampling_hangs_on_the_seed(engine: VllmEngine, model: str) -> None:
    first, same, other = (
        answers(engine, model, "seeded", temperature=1.5, seed=seed)["seeded"].response for seed in (1, 1, 2)
    )
    assert first == same != other


def test_a_schema_is_obeyed_even_by_noise(engine: VllmEngine, model: str) -> None:
    schema = {
        "type": "object",
        "properties": {"level": {"enum": ["easy", "hard"]}, "good": {"type": "boolean"}},
        "required": ["level", "good"],
        "additionalProperties": False,
    }
    # Between the parts any white space is right, and noise would like it for ever.
    spaces = load_tokenizer(model)(" \n\r\t", add_special_tokens=False)["input_ids"]
    params = {"max_tokens": 60, "temperature": 1.0, "seed": 3, "logit_bias": {str(space): -100 for space in spaces}}
    made = answers(engine, model, "x", "y", json_schema=schema, **params)
    for result in made.values():
        assert json.loads(result.response)["level"] in ("easy", "hard")
    assert all(result.finish_reason == "stop" for result in made.values())


def test_a_schema_that_vllm_can_not_enforce_is_left_out(engine: VllmEngine, model: str) -> None:
    for schema in ({"$ref": "#/nowhere"}, {"type": "object", "required": 3}, {"type": "wisdom"}):
        for result in answers(engine, model, "a", "b", json_schema=schema).values():
            assert result.status == "ok"


def test_a_parameter_that_vllm_does_not_know_stops_the_run(engine: VllmEngine, model: str) -> None:
    with pytest.raises(FatalEngineError, match=r"does not take the parameters.*wisdom"):
        answers(engine, model, "x", wisdom=3)
    with pytest.raises(FatalEngineError, match=r"does not take the parameters.*temperature"):
        answers(engine, model, "x", temperature=-1.0)
    assert answers(engine, model, "after")["after"].status == "ok"


def test_a_budget_leaves_the_rest_unasked(engine: VllmEngine, model: str) -> None:
    bounds = Bounds(engine.spec, purse=Purse(Amount(requests=6, tokens=1e9, cost=1e9)))

    async def gather() -> list[ChatResult]:
        return [result async for result in engine.stream(requests(model, *"abcdefghij"), bounds)]

    assert len(asyncio.run(gather())) == 6
    assert bounds.purse.empty
    assert bounds.purse.spent.requests == 6


def test_what_does_not_fit_now_is_asked_when_others_have_left_something(engine: VllmEngine, model: str) -> None:
    """The worst case is the bytes of the prompt and the longest answer, here 100 tokens; an answer of one word takes a third."""
    asked = requests(model, *"abcdef", json_schema={"const": "x"}, max_tokens=90)
    bounds = Bounds(engine.spec, purse=Purse(Amount(requests=100, tokens=300, cost=1e9)))

    async def gather() -> list[ChatResult]:
        return [result async for result in engine.stream(asked, bounds)]

    assert {result.response for result in asyncio.run(gather())} == {'"x"'}
    assert bounds.worst(asked[0]).tokens * len(asked) == 600
    assert bounds.purse.spent.tokens <= 300
    assert not bounds.purse.empty


def test_when_it_is_told_to_stop_it_answers_what_it_has_begun(engine: VllmEngine, model: str) -> None:
    bounds = Bounds(engine.spec)

    async def gather() -> int:
        count = 0
        async for result in engine.stream(requests(model, *"abcdefghijklmnopqrstuvwxyz"), bounds):
            assert result.status == "ok"
            bounds.purse.close()
            count += 1
        return count

    assert asyncio.run(gather()) == AHEAD * engine.spec.batch_size
    assert bounds.purse.empty


def test_what_nobody_waits_for_is_dropped(engine: VllmEngine, model: str) -> None:
    long = requests(model, *"abcdefgh", max_tokens=100, ignore_eos=True)

    async def first() -> str:
        async with aclosing(engine.stream([*long, *requests(model, "S", max_tokens=1)])) as results:
            return (await anext(results)).request_id

    asyncio.run(first())
    assert engine._model is not None
    assert not engine._model._engine.has_unfinished_requests()
    assert answers(engine, model, "after")["after"].status == "ok"


def test_it_runs_in_this_process_and_goes_with_it(engine: VllmEngine, model: str) -> None:
    # Loaded once before, as Python keeps a helper of its own for shared memory.
    answers(engine, model, "x")
    engine.close()
    before = child_processes()
    answers(engine, model, "x")
    assert child_processes() == before


def child_processes() -> set[str]:
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_another_model_takes_the_place_of_the_first(engine: VllmEngine, model: str, tmp_path: Path) -> None:
    answers(engine, model, "x")
    assert engine._model is not None
    first = weakref.ref(engine._model._engine)
    other = make_tiny_model(tmp_path / "other")
    mixed = [*requests(model, "a"), *requests(other, "b"), *requests(model, "c")]
    results = {result.request_id: result.served_model for result in engine.complete(mixed)}
    assert results == {"a": model, "b": other, "c": model}
    gc.collect()
    assert first() is None


def test_a_model_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(FatalEngineError, match="can not be loaded"):
        answers(VllmEngine(spec()), str(tmp_path / "nothing"), "x")


def test_a_setting_that_vllm_does_not_know_stops_the_run(model: str) -> None:
    with pytest.raises(FatalEngineError, match=r"can not be loaded: .*wisdom"):
        answers(VllmEngine(spec(engine_args='{"wisdom": 3}')), model, "x")


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a GPU here")
def test_a_gpu_that_this_build_can_not_use_is_told(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("udfs.engines.vllm_model._own_gpu", {"cuda:0": "0"})
    with pytest.raises(FatalEngineError, match=r"llm\.device is cuda:0, .* works on cpu"):
        answers(VllmEngine(spec(device="cuda:0")), model, "x")


def test_the_loader_knows_it_and_keeps_one_model_in_memory(engine: VllmEngine, model: str) -> None:
    engine.close()
    first, second = (load_engine(spec(batch_size=size)) for size in (2, 3))
    assert isinstance(first, VllmEngine)
    assert isinstance(second, VllmEngine)
    assert answers(second, model, "x")["x"].status == "ok"
    assert load_engine(spec(batch_size=3)) is second
    assert load_engine(spec(batch_size=2)) is first
    assert second._model is None
