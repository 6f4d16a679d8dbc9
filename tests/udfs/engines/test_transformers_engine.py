"""The in-process engine on a tiny model with random weights, made here: what it answers is noise, how it answers is tested."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.udfs.engines.helpers import ask
from tests.udfs.engines.tiny_model import WINDOW, make_tiny_model
from udfs.engines import load_engine
from udfs.engines.bounds import Bounds
from udfs.engines.in_worker import load_tokenizer
from udfs.engines.protocol import ChatResult, EngineSpec, FatalEngineError
from udfs.engines.purse import Amount, Purse
from udfs.engines.transformers_engine import TransformersEngine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def engine() -> TransformersEngine:
    return TransformersEngine(EngineSpec(kind="transformers", batch_size=3, device="cpu"))


def answers(model: str, engine: TransformersEngine, *names: str, **params: object) -> dict[str, ChatResult]:
    given = {"max_tokens": 12, "temperature": 0.0, **params}
    requests = [ask(name, model=model, params=given) for name in names]
    return {result.request_id: result for result in engine.complete(requests)}


def test_every_request_has_its_result_whatever_the_batch(model: str) -> None:
    names = ["a", "a longer one", "b", "c", "the longest of them all", "d", "e"]
    together = answers(model, engine(), *names)
    assert set(together) == set(names)
    for name, result in together.items():
        alone = answers(model, engine(), name)[name]
        assert (result.response, result.completion_tokens) == (alone.response, alone.completion_tokens)
        assert result.prompt_tokens == alone.prompt_tokens > 10
        assert (result.served_model, result.attempts) == (model, 1)


def test_an_answer_that_fills_its_bound_is_cut(model: str) -> None:
    result = answers(model, engine(), "cut", max_tokens=5)["cut"]
    assert (result.finish_reason, result.completion_tokens) == ("length", 5)


def test_a_model_may_stop_at_several_tokens(model: str, tmp_path: Path) -> None:
    drawn = {"max_tokens": 60, "temperature": 1.5, "seed": 1}
    whole = answers(model, engine(), "stops", **drawn)["stops"].response
    tokenizer = load_tokenizer(str(shutil.copytree(model, tmp_path / "model")))
    at = next(n for n, sign in enumerate(whole) if n and sign.isalnum() and sign.isascii() and sign not in whole[:n])
    last = tokenizer(whole[at], add_special_tokens=False)["input_ids"][0]
    config = {"eos_token_id": [tokenizer.eos_token_id, last]}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(config), "utf-8")
    result = answers(str(tmp_path / "model"), engine(), "stops", **drawn)["stops"]
    assert result.finish_reason == "stop"
    assert result.response == whole[:at].strip()


def test_a_model_without_a_token_to_pad_with_answers_in_batches(model: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(shutil.copytree(model, tmp_path / "model")))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "model")
    assert load_tokenizer(str(tmp_path / "model")).pad_token_id is None
    without, padded = (answers(name, engine(), "short", "a longer one") for name in (str(tmp_path / "model"), model))
    assert {key: result.response for key, result in without.items()} == {
        key: result.response for key, result in padded.items()
    }


def test_a_prompt_over_the_window_fails_alone(model: str) -> None:
    results = answers(model, engine(), "short", "long " * 40)
    assert "too long" not in results["short"].error
    assert results["long " * 40].status == "failed"
    assert "too long for the model" in results["long " * 40].error
    assert f"its window of {WINDOW}" in results["long " * 40].error


def test_sampling_hangs_on_the_seed(model: str) -> None:
    first, same, other = (
        answers(model, engine(), "seeded", temperature=1.5, seed=seed)["seeded"].response for seed in (1, 1, 2)
    )
    assert first == same != other


def test_the_worker_is_not_deaf_while_the_model_works(model: str) -> None:
    """It must tell the driver that it lives, and hear that it is to stop."""

    async def beats() -> int:
        count = 0

        async def beat() -> None:
            nonlocal count
            while True:
                await asyncio.sleep(0.001)
                count += 1

        beating = asyncio.create_task(beat())
        stream = engine().stream([ask("deaf", model=model, params={"max_tokens": 80, "temperature": 0.0})])
        assert [result.status async for result in stream]
        beating.cancel()
        return count

    assert asyncio.run(beats()) > 10


def test_a_budget_leaves_the_rest_unasked(model: str) -> None:
    made = engine()
    requests = [ask(name, model=model, params={"max_tokens": 12, "temperature": 0.0}) for name in "abcdefgh"]
    bounds = Bounds(made.spec, purse=Purse(Amount(requests=4, tokens=1e9, cost=1e9)))

    async def collect() -> list[ChatResult]:
        return [result async for result in made.stream(requests, bounds)]

    assert len(asyncio.run(collect())) == 4
    assert bounds.purse.empty


def test_a_model_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(FatalEngineError, match="can not be loaded"):
        answers(str(tmp_path / "nothing"), engine(), "x")


def test_the_loader_knows_it() -> None:
    assert isinstance(load_engine(EngineSpec(kind="transformers", device="cpu")), TransformersEngine)
