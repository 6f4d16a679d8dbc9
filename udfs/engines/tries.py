"""What is known of one request while it is asked for: its tries so far, and what the last reply comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from udfs.engines.endpoints import hide_key
from udfs.engines.protocol import ChatRequest, ChatResult
from udfs.engines.purse import Amount
from udfs.engines.retries import Action, Verdict
from udfs.engines.wire import Reply

GAVE_UP = "gave up"
OUTAGE_ROWS = 20  # so many requests given up, and none answered in between, are no longer the fault of the requests
REFUSED = Amount(requests=1)  # a server that turns a request away has not worked on it


@dataclass(slots=True)
class Tries:
    """One request and its tries."""

    request: ChatRequest
    started: float = 0.0
    attempts: int = 0
    latency_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    bad_answers: int = 0
    used: Amount = field(default_factory=Amount)  # what the last try counts against the budget
    silent: int | None = None  # the server of the last try, where no reply came from it
    reply: Reply = field(default_factory=Reply)

    @property
    def counted(self) -> str:
        """The number of tries in words."""
        return "1 try" if self.attempts == 1 else f"{self.attempts} tries"

    def read(self, reply: Reply, key: str, bad_answers: int) -> Verdict | None:
        """Takes a reply. Returns None for an answer to keep: a usable one, or the last of those that `bad_answers` allows."""
        self.reply = reply
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        if reply.problem:
            return Verdict(Action.FAIL_ROW if reply.final else Action.RETRY, hide_key(reply.problem, key))
        check = self.request.check
        wrong = check(reply.response) if check and reply.finish_reason != "length" else ""
        if not wrong or self.bad_answers >= bad_answers:
            return None
        self.bad_answers += 1
        return Verdict(Action.RETRY, f"unusable answer: {wrong}")

    def result(self, error: str = "") -> ChatResult:
        """Makes the request's result; `error` says why it has failed."""
        reply = self.reply
        return ChatResult(
            request_id=self.request.request_id,
            status="failed" if error else "ok",
            response=reply.response,
            reasoning=reply.reasoning,
            finish_reason=reply.finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            latency_s=self.latency_s,
            attempts=self.attempts,
            error=error,
            served_model=reply.served_model,
        )
