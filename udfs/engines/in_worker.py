"""What engines with the model inside the worker share: requests model by model, prompts as token ids, results, and what these count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from udfs.engines.bounds import Bounds
from udfs.engines.protocol import ChatRequest, ChatResult, FatalEngineError
from udfs.engines.purse import Amount
from udfs.engines.wire import Reply, clean_text, split_reasoning, why_empty, worst_tokens

# Requests that are put in order together, in batches: more make fewer changes of the model, and later first answers.
WINDOW_BATCHES = 16
# A parameter of the chat template, as vLLM's and SGLang's servers name it: {enable_thinking: false}.
TEMPLATE_PARAM = "chat_template_kwargs"
# Characters of an error's words: the libraries add advice of many lines.
REASON_BOUND = 400


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request with its prompt as the model's token ids, and the most tokens that it lets the model answer."""

    request: ChatRequest
    ids: list[int]
    answer: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model made of a prompt: its text with the reasoning in it, or the error that kept it from answering."""

    text: str = ""
    finish_reason: str = ""
    tokens: int = 0
    seconds: float = 0.0
    error: str = ""


def by_model(requests: Iterable[ChatRequest], window: int) -> Iterator[tuple[str, Iterator[ChatRequest]]]:
    """Groups requests by model: among every `window` of them those of one model come together, else their order stays.

    A model takes minutes to load and one is in memory at a time. Take all of a group before the next.
    """
    return groupby(_together(iter(requests), window), key=attrgetter("model"))


def _together(source: Iterator[ChatRequest], window: int) -> Iterator[ChatRequest]:
    loaded = ""
    while some := list(islice(source, window)):
        for model in sorted(dict.fromkeys(request.model for request in some), key=lambda model: model != loaded):
            loaded = model
            yield from (request for request in some if request.model == model)


def load_tokenizer(model: str, **options: Any) -> Any:
    """Loads a chat model's tokenizer. Raises FatalEngineError where there is none, or none with a chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **options)
    except (OSError, ValueError) as error:
        raise not_loaded(model, error) from error
    if tokenizer.chat_template is None:
        raise FatalEngineError(f"the model {model!r} has no chat template: it is no chat model")
    return tokenizer


def not_loaded(model: str, error: Exception) -> FatalEngineError:
    """Words the error of a model that can not be loaded."""
    reason = " ".join(str(error).split())[:REASON_BOUND] or type(error).__name__
    return FatalEngineError(f"the model {model!r} can not be loaded: {reason}")


def prompt_of(tokenizer: Any, request: ChatRequest) -> Prompt:
    """Makes the prompt of a request by the model's chat template, for whose own parameters see TEMPLATE_PARAM.

    Raises FatalEngineError for a template that refuses the messages, as some do with a system message.
    """
    from jinja2 import TemplateError

    messages = [{name: clean_text(value) for name, value in message.items()} for message in request.messages]
    options = request.params.get(TEMPLATE_PARAM) or {}
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)
    except TemplateError as error:
        raise FatalEngineError(f"the chat template of {request.model!r} refuses the messages: {error}") from error
    return Prompt(request, tokenizer(text, add_special_tokens=False)["input_ids"], worst_tokens(request)[1])


def too_long(prompt: Prompt, window: int) -> Answer | None:
    """Answers in the place of a model whose window can not hold the prompt and the longest answer; None where it can."""
    if len(prompt.ids) + prompt.answer <= window:
        return None
    said = f"{len(prompt.ids)} tokens and {prompt.answer} for the answer are more than its window of {window}"
    return Answer(error=f"the prompt is too long for the model ({said})")


def result_of(prompt: Prompt, answer: Answer) -> ChatResult:
    """Makes a request's result; an answer without a text beside the reasoning is none."""
    request = prompt.request
    if answer.error:
        return ChatResult(request.request_id, "failed", error=answer.error, served_model=request.model)
    reasoning, text = split_reasoning(clean_text(answer.text))
    return ChatResult(
        request.request_id,
        "ok" if text else "failed",
        response=text,
        reasoning=reasoning,
        finish_reason=answer.finish_reason,
        prompt_tokens=len(prompt.ids),
        completion_tokens=answer.tokens,
        latency_s=answer.seconds,
        error="" if text else why_empty(answer.finish_reason)[0],
        served_model=request.model,
    )


def settle(bounds: Bounds, request: ChatRequest, result: ChatResult) -> None:
    """Gives back what a request has not used of its worst case; one that the model never saw counts as a request alone."""
    reply = Reply(prompt_tokens=result.prompt_tokens, completion_tokens=result.completion_tokens)
    bounds.purse.settle(bounds.worst(request), bounds.used(request.model, reply, Amount(requests=1)))
