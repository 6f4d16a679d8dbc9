"""The `transformers` engine: a causal language model inside the worker, on its GPU or on the CPU, in length-sorted batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from itertools import islice
from typing import Any

from udfs.engines.blocking import collect
from udfs.engines.bounds import Bounds
from udfs.engines.in_worker import (
    WINDOW_BATCHES,
    Answer,
    Prompt,
    by_model,
    load_tokenizer,
    not_loaded,
    prompt_of,
    result_of,
    settle,
    too_long,
)
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError


class TransformersEngine:
    """Answers chat requests by a model that `transformers` loads: `ChatRequest.model` is a name of the hub or a folder.

    One model is in memory at a time: the refiner takes the place of the teacher. `json_schema` is not enforced: answers are mended and checked like those
    of a server without structured output. Raises FatalEngineError where the packages are missing.
    """

    def __init__(self, spec: EngineSpec) -> None:
        try:
            import torch
        except ImportError as error:
            raise FatalEngineError("the transformers engine needs torch: pip install 'boostqa[embed]'") from error
        self.spec = spec
        self._device = spec.device if spec.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self._name = ""
        self._model: Any = None
        self._tokenizer: Any = None
        # Minutes may go by, in which the worker must still tell the driver that it lives, and hear that it is to stop.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transformers")

    def complete(self, requests: list[ChatRequest]) -> list[ChatResult]:
        """Answers all requests. Raises FatalEngineError when a model can not be loaded."""
        return collect(self.stream(requests))

    async def stream(
        self, requests: Iterable[ChatRequest], bounds: Bounds | None = None
    ) -> AsyncGenerator[ChatResult, None]:
        """Yields the results batch by batch, within the budget of `bounds`; its places and rates are for servers.

        Raises FatalEngineError when a model can not be loaded.
        """
        bounds = bounds or Bounds(self.spec)
        loop = asyncio.get_running_loop()
        for model, same in by_model(requests, WINDOW_BATCHES * self.spec.batch_size):
            await loop.run_in_executor(self._thread, self._load, model)
            for batch in self._batches(same):
                async with aclosing(self._within(batch, bounds)) as results:
                    async for result in results:
                        yield result
                if bounds.purse.empty:
                    return

    async def _within(self, batch: list[Prompt], bounds: Bounds) -> AsyncGenerator[ChatResult, None]:
        """Answers what of a batch the budget has room for; the others once the first have left something."""
        loop = asyncio.get_running_loop()
        while batch:
            now = [prompt for prompt in batch if bounds.purse.take(bounds.worst(prompt.request))]
            answers = await loop.run_in_executor(self._thread, self._answers, now)
            for prompt, answer in zip(now, answers, strict=True):
                result = result_of(prompt, answer)
                settle(bounds, prompt.request, result)
                yield result
            bounds.purse.empty = not now
            batch = [prompt for prompt in batch if prompt not in now] if now else []

    def close(self) -> None:
        """Frees the model's memory, after a batch that it works on. Safe to call twice."""
        self._thread.submit(self._free).result()

    def _free(self) -> None:
        self._name, self._model, self._tokenizer = "", None, None

    def _batches(self, requests: Iterator[ChatRequest]) -> Iterator[list[Prompt]]:
        """Sorts requests by the length of their prompts, the longest first: what does not fit into the memory shows at once."""
        size = self.spec.batch_size
        while window := [prompt_of(self._tokenizer, request) for request in islice(requests, WINDOW_BATCHES * size)]:
            window.sort(key=lambda prompt: -len(prompt.ids))
            yield from (window[i : i + size] for i in range(0, len(window), size))

    def _load(self, model: str) -> None:
        if model == self._name:
            return
        self._free()
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        no_bars: Callable[[], None] = logging.disable_progress_bar
        no_bars()
        self._tokenizer = load_tokenizer(model, padding_side="left")
        if self._tokenizer.pad_token_id is None:
            # Llama's and Mistral's have none; what stands in for it is masked.
            self._tokenizer.pad_token = self._tokenizer.eos_token
        try:
            self._model = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
            self._model.to(torch.device(self._device))
        except (OSError, ValueError) as error:
            raise not_loaded(model, error) from error
        self._name = model

    def _answers(self, batch: list[Prompt]) -> list[Answer]:
        """Answers a batch in its order; a prompt that is longer than the model's window fails alone."""
        window = getattr(self._model.config, "max_position_embeddings", None) or 2**30
        made = {prompt.request.request_id: said for prompt in batch if (said := too_long(prompt, window))}
        fits = [prompt for prompt in batch if prompt.request.request_id not in made]
        # Requests with other parameters are other calls of `generate`.
        for params in {repr(sorted(prompt.request.params.items())) for prompt in fits}:
            same = [prompt for prompt in fits if repr(sorted(prompt.request.params.items())) == params]
            made |= zip([prompt.request.request_id for prompt in same], self._generate(same), strict=True)
        return [made[prompt.request.request_id] for prompt in batch]

    def _generate(self, batch: list[Prompt]) -> Iterator[Answer]:
        import torch

        started = time.monotonic()
        inputs = self._tokenizer.pad({"input_ids": [prompt.ids for prompt in batch]}, return_tensors="pt")
        params = dict(batch[0].request.params)
        if params.get("seed") is not None:
            torch.manual_seed(int(params["seed"]))
        pad = self._tokenizer.pad_token_id
        with torch.inference_mode():
            output = self._model.generate(
                **inputs.to(self._device), max_new_tokens=batch[0].answer, pad_token_id=pad, **_sampling(params)
            )
        new = output[:, inputs["input_ids"].shape[1] :].tolist()
        seconds = (time.monotonic() - started) / len(batch)
        for ids in new:
            yield self._answer(ids, seconds)

    def _answer(self, ids: list[int], seconds: float) -> Answer:
        stops = self._model.generation_config.eos_token_id
        # A model may stop at several tokens, of which its tokenizer knows one.
        ends = {self._tokenizer.eos_token_id, self._tokenizer.pad_token_id}
        ends |= set(stops) if isinstance(stops, list) else {stops}
        length = next((n for n, token in enumerate(ids) if token in ends), len(ids))
        text = self._tokenizer.decode(ids[:length], skip_special_tokens=True)
        return Answer(text, "stop" if length < len(ids) else "length", length, seconds)


def _sampling(params: dict[str, Any]) -> dict[str, Any]:
    """Names OpenAI's sampling parameters as `generate` does; a temperature of 0 is the likeliest token each time."""
    temperature = params.get("temperature", 1.0)
    if not temperature:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {"do_sample": True, "temperature": float(temperature), "top_p": float(params.get("top_p", 1.0)), "top_k": 0}
