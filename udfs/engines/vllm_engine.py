"""The `vllm` engine: vLLM inside the worker, on its GPU or on the CPU; answers come one by one while it works on the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from functools import partial
from importlib.util import find_spec
from typing import Any

from udfs.engines.blocking import collect
from udfs.engines.bounds import Bounds
from udfs.engines.in_worker import (
    TEMPLATE_PARAM,
    WINDOW_BATCHES,
    Answer,
    Prompt,
    by_model,
    load_tokenizer,
    prompt_of,
    result_of,
    settle,
    too_long,
)
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.engines.vllm_model import VllmModel, refusals

# Prompts that are handed to vLLM for each that it works on: as many again wait there, so that no place is ever free.
AHEAD = 2
# Requests of one prefix lie next to each other.
OPTIONS = {"enable_prefix_caching": True, "disable_log_stats": True, "use_tqdm_on_load": False}
# Settings of vLLM that are its tokenizer's as well.
OF_TOKENIZER = ("revision", "trust_remote_code")
# Parameters of a request that are no sampling parameters of vLLM.
NOT_SAMPLED = ("max_tokens", "max_completion_tokens", TEMPLATE_PARAM)


class VllmEngine:
    """Answers chat requests by a model that vLLM runs in this process: `ChatRequest.model` is a name of the hub or a folder.

    One model is in memory at a time: the refiner takes the place of the teacher. `json_schema` is enforced where vLLM can. Raises FatalEngineError where
    vLLM is missing.
    """

    def __init__(self, spec: EngineSpec) -> None:
        if find_spec("vllm") is None:
            raise FatalEngineError("the vllm engine needs vllm: pip install 'boostqa[vllm]'")
        self.spec = spec
        self._options: dict[str, Any] = json.loads(spec.engine_args)
        self._model: VllmModel | None = None
        self._tokenizer: Any = None
        self._asked = 0

    def complete(self, requests: list[ChatRequest]) -> list[ChatResult]:
        """Answers all requests, in the order of completion. Raises FatalEngineError when a model can not be loaded."""
        return collect(self.stream(requests))

    async def stream(
        self, requests: Iterable[ChatRequest], bounds: Bounds | None = None
    ) -> AsyncGenerator[ChatResult, None]:
        """Yields each result as soon as it is there, within the budget of `bounds`; its places and rates are for servers.

        Raises FatalEngineError when a model can not be loaded or a parameter is not vLLM's, and RuntimeError when vLLM breaks down: Spark then tries the task
        again in a new process.
        """
        bounds = bounds or Bounds(self.spec)
        for name, same in by_model(requests, WINDOW_BATCHES * self.spec.batch_size):
            model = await self._load(name)
            async with aclosing(self._results(model, _Source(same, bounds))) as results:
                async for result in results:
                    yield result
            if bounds.purse.empty:
                return

    def close(self) -> None:
        """Frees the model's memory."""
        if self._model is not None:
            self._model.close()
        self._model, self._tokenizer = None, None

    async def _load(self, name: str) -> VllmModel:
        if self._model is None or self._model.name != name:
            self.close()
            of_tokenizer = {key: value for key, value in self._options.items() if key in OF_TOKENIZER}
            self._tokenizer = load_tokenizer(self._options.get("tokenizer") or name, **of_tokenizer)
            options = {"max_num_seqs": self.spec.batch_size, **OPTIONS, **self._options}
            self._model = VllmModel(name, self.spec.device, options)
        try:
            # Minutes, in which the worker must still tell the driver that it lives.
            await asyncio.wrap_future(self._model.ready)
        except FatalEngineError:
            self.close()
            raise
        return self._model

    async def _results(self, model: VllmModel, source: _Source) -> AsyncGenerator[ChatResult, None]:
        loop = asyncio.get_running_loop()
        finished: asyncio.Queue[tuple[Prompt, Future[Answer]]] = asyncio.Queue()
        running = 0

        def tell(prompt: Prompt, answer: Future[Answer]) -> None:
            loop.call_soon_threadsafe(finished.put_nowait, (prompt, answer))

        try:
            while True:
                while running < AHEAD * self.spec.batch_size and (request := source.take(running)):
                    prompt = prompt_of(self._tokenizer, request)
                    self._ask(model, prompt).add_done_callback(partial(tell, prompt))
                    running += 1
                if not running:
                    return
                prompt, answer = await finished.get()
                running -= 1
                result = result_of(prompt, answer.result())
                settle(source.bounds, prompt.request, result)
                yield result
        finally:
            if running:
                await asyncio.wrap_future(model.drop())

    def _ask(self, model: VllmModel, prompt: Prompt) -> Future[Answer]:
        refused = too_long(prompt, model.window)
        if refused is not None:
            answered: Future[Answer] = Future()
            answered.set_result(refused)
            return answered
        self._asked += 1
        return model.ask(f"{self._asked}-{prompt.request.request_id}", prompt.ids, sampling_of(prompt))


class _Source:
    """The requests that are still to be asked, as far as the budget reaches."""

    def __init__(self, requests: Iterator[ChatRequest], bounds: Bounds) -> None:
        self.bounds = bounds
        self._requests = requests
        self._held: ChatRequest | None = None

    def take(self, running: int) -> ChatRequest | None:
        """Returns the next request with its worst case reserved; None at the end, or until one of those that run has left something."""
        request = self._held or next(self._requests, None)
        self._held = None
        if request is None or self.bounds.purse.take(self.bounds.worst(request)):
            return request
        self._held = request
        self.bounds.purse.empty = self.bounds.purse.empty or not running
        return None


def sampling_of(prompt: Prompt) -> Any:
    """Makes vLLM's sampling parameters of OpenAI's, which it names alike. Raises FatalEngineError for one that it does not know or take."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    request = prompt.request
    params = {name: value for name, value in request.params.items() if value is not None and name not in NOT_SAMPLED}
    schema = request.json_schema
    fixed = {
        "max_tokens": prompt.answer,
        "output_kind": RequestOutputKind.FINAL_ONLY,
        "structured_outputs": StructuredOutputsParams(json=json.dumps(dict(schema))) if schema is not None else None,
    }
    try:
        return SamplingParams.from_optional(**params, **fixed)
    except refusals() as error:
        raise FatalEngineError(f"vLLM does not take the parameters {params}: {error}") from error
