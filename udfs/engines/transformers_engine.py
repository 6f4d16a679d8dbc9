"""The `transformers` engine: a causal language model inside the worker, on its GPU or on the CPU, in length-sorted batches."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from udfs.engines.blocking import collect
from udfs.engines.bounds import Bounds
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.engines.purse import Amount
from udfs.engines.wire import Reply, clean_text, split_reasoning, worst_tokens

# Requests that are sorted by length together: more make fuller batches, and later first answers.
WINDOW_BATCHES = 16


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A request with its prompt as the model's token ids, and the most tokens that it lets the model answer."""

    request: ChatRequest
    ids: list[int]
    answer: int


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
        source = iter(requests)
        while window := list(islice(source, WINDOW_BATCHES * self.spec.batch_size)):
            for batch in self._batches(window):
                for result in self._within(batch, bounds):
                    yield result
                if bounds.purse.empty:
                    return

    def _within(self, batch: list[_Prompt], bounds: Bounds) -> Iterator[ChatResult]:
        """Answers what of a batch the budget has room for; the others once the first have left something."""
        while batch:
            now = [prompt for prompt in batch if bounds.purse.take(bounds.worst(prompt.request))]
            for prompt, result in zip(now, self._answers(now), strict=True):
                reply = Reply(prompt_tokens=result.prompt_tokens, completion_tokens=result.completion_tokens)
                bounds.purse.settle(bounds.worst(prompt.request), bounds.used(self._name, reply, Amount(requests=1)))
                yield result
            bounds.purse.empty = not now
            batch = [prompt for prompt in batch if prompt not in now] if now else []

    def close(self) -> None:
        """Frees the model's memory."""
        self._name, self._model, self._tokenizer = "", None, None

    def _batches(self, window: list[ChatRequest]) -> Iterator[list[_Prompt]]:
        """Sorts requests by model and length of prompt, the longest first: what does not fit into the memory shows at once."""
        for model in dict.fromkeys(request.model for request in window):
            self._load(model)
            prompts = [self._prompt(request) for request in window if request.model == model]
            prompts.sort(key=lambda prompt: -len(prompt.ids))
            yield from (prompts[i : i + self.spec.batch_size] for i in range(0, len(prompts), self.spec.batch_size))

    def _load(self, model: str) -> None:
        if model == self._name:
            return
        self.close()
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        no_bars: Callable[[], None] = logging.disable_progress_bar
        no_bars()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
            self._model = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
            self._model.to(torch.device(self._device))
        except (OSError, ValueError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise FatalEngineError(f"the model {model!r} can not be loaded: {reason}") from error
        if self._tokenizer.chat_template is None:
            raise FatalEngineError(f"the model {model!r} has no chat template: it is no chat model")
        self._name = model

    def _prompt(self, request: ChatRequest) -> _Prompt:
        messages = [{name: clean_text(value) for name, value in message.items()} for message in request.messages]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return _Prompt(request, self._tokenizer(text, add_special_tokens=False)["input_ids"], worst_tokens(request)[1])

    def _answers(self, batch: list[_Prompt]) -> list[ChatResult]:
        """Answers a batch in its order; a prompt that is longer than the model's window fails alone."""
        window = getattr(self._model.config, "max_position_embeddings", None) or 2**30
        fits = [prompt for prompt in batch if len(prompt.ids) + prompt.answer <= window]
        made: dict[str, ChatResult] = {}
        # Requests with other parameters are other calls of `generate`.
        for params in {repr(sorted(prompt.request.params.items())) for prompt in fits}:
            same = [prompt for prompt in fits if repr(sorted(prompt.request.params.items())) == params]
            made |= {result.request_id: result for result in self._generate(same)}
        return [made.get(prompt.request.request_id) or _too_long(prompt, window) for prompt in batch]

    def _generate(self, batch: list[_Prompt]) -> Iterator[ChatResult]:
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
        for prompt, ids in zip(batch, new, strict=True):
            yield self._result(prompt, ids, seconds)

    def _result(self, prompt: _Prompt, ids: list[int], seconds: float) -> ChatResult:
        ends = {self._tokenizer.eos_token_id, self._tokenizer.pad_token_id}
        length = next((n for n, token in enumerate(ids) if token in ends), len(ids))
        reasoning, answer = split_reasoning(self._tokenizer.decode(ids[:length], skip_special_tokens=True))
        return ChatResult(
            prompt.request.request_id,
            "ok" if answer else "failed",
            response=answer,
            reasoning=reasoning,
            finish_reason="stop" if length < len(ids) else "length",
            prompt_tokens=len(prompt.ids),
            completion_tokens=length,
            latency_s=seconds,
            error="" if answer else "the answer was empty",
            served_model=self._name,
        )


def _too_long(prompt: _Prompt, window: int) -> ChatResult:
    said = f"{len(prompt.ids)} tokens and {prompt.answer} for the answer are more than its window of {window}"
    return ChatResult(prompt.request.request_id, "failed", error=f"the prompt is too long for the model ({said})")


def _sampling(params: dict[str, Any]) -> dict[str, Any]:
    """Names OpenAI's sampling parameters as `generate` does; a temperature of 0 is the likeliest token each time."""
    temperature = params.get("temperature", 1.0)
    if not temperature:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {"do_sample": True, "temperature": float(temperature), "top_p": float(params.get("top_p", 1.0)), "top_k": 0}
