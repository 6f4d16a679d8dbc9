"""What every LLM engine takes and gives: chat requests in, chat results out.

An engine is made inside a Spark worker from a small picklable `EngineSpec` by `udfs.engines.load_engine`, and lives as
long as the worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from udfs.engines.bounds import Bounds

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a model. `request_id` is the ledger's key and also names the row in every log line.

    `params` are sampling parameters as the OpenAI API names them (`temperature`, `max_tokens`, ...); `json_schema` asks
    for structured output where the server has it. Requests of one `prefix` (a seed) go to the same server, whose cache
    then knows their beginning. `check` says what is wrong with an answer's text ("" for a good one): a bad one is asked
    for again a few times. `attempt` is the ledger's: another attempt at the same request is asked anew.
    """

    request_id: str
    model: str
    messages: tuple[Message, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    json_schema: Mapping[str, Any] | None = None
    prefix: str = ""
    check: Callable[[str], str] | None = None
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ChatResult:
    """What became of one request.

    `status` is `ok` (an answer arrived; it may still be cut, see `finish_reason`), or `failed` (this row can not
    succeed: `error` says why). Token counts are the server's; 0 where it gave none. `attempts` counts the HTTP requests
    sent, `latency_s` the seconds of the last one.
    """

    request_id: str
    status: str
    response: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    attempts: int = 1
    error: str = ""
    served_model: str = ""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """How to make an engine: small, picklable, without secrets (the key is read from the environment variable
    `api_key_env` in the worker).

    `max_in_flight`, `rpm` and `tpm` are the run's global bounds, of which `Bounds` gives a worker its share; 0 means no
    limit for the two rates. `request_timeout_s` bounds one HTTP request, `deadline_s` all tries of one request together;
    `bad_answers` is how often an answer that fails its request's `check` is asked for again. `device` (auto, cpu,
    cuda:0) and `batch_size` are for engines inside the worker; `engine_args` is a JSON object of vLLM's own settings. A batch
    of the Batch API holds at most `batch_requests`, is asked after every `batch_poll_s`, and is written down in
    `batch_folder`, which all workers and the next run must see.
    """

    kind: str = "openai"
    base_urls: tuple[str, ...] = ()
    api_key_env: str = "OPENAI_API_KEY"
    max_in_flight: int = 8
    rpm: int = 0
    tpm: int = 0
    request_timeout_s: float = 120.0
    deadline_s: float = 600.0
    max_attempts: int = 6
    bad_answers: int = 2
    device: str = "auto"
    batch_size: int = 8
    batch_folder: str = ""
    batch_requests: int = 50_000
    batch_poll_s: float = 30.0
    engine_args: str = "{}"


class FatalEngineError(RuntimeError):
    """The endpoint refuses every request (wrong key, wrong model, wrong address): stop the run and show the server's
    words.
    """


class Engine(Protocol):
    """Answers chat requests. Results come in the order of completion; match them by `request_id`."""

    def complete(self, requests: list[ChatRequest]) -> list[ChatResult]:
        """Answers all requests; one result per request. Raises FatalEngineError when no request can succeed."""

    def stream(self, requests: Iterable[ChatRequest], bounds: Bounds | None = None) -> AsyncIterator[ChatResult]:
        """Yields each result as soon as it is there, within `bounds` (without them: those of the spec, and no budget).

        Ends early, with requests left unasked, when `bounds.purse` is empty. Raises FatalEngineError when no request
        can succeed.
        """

    def close(self) -> None:
        """Releases connections or memory. Safe to call twice."""
