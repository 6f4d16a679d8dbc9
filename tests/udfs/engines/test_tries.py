"""A request's tries: tokens add up, and an answer that can not be used is asked for again so many times."""

from __future__ import annotations

from tests.udfs.engines.helpers import ask
from udfs.engines.retries import Action
from udfs.engines.tries import Tries
from udfs.engines.wire import Reply

GOOD = Reply("yes", prompt_tokens=7, completion_tokens=3, finish_reason="stop", served_model="m")


def check(text: str) -> str:
    return "" if text == "yes" else "not yes"


def test_a_good_answer_is_kept_with_all_its_tokens() -> None:
    tries = Tries(ask(1), attempts=2)
    assert tries.read(Reply(problem="the answer was empty", prompt_tokens=7), "none", 2) is not None
    assert tries.read(GOOD, "none", 2) is None
    result = tries.result()
    assert (result.status, result.response, result.served_model) == ("ok", "yes", "m")
    assert (result.prompt_tokens, result.completion_tokens, result.attempts) == (14, 3, 2)
    assert tries.counted == "2 tries"


def test_the_last_bad_answer_is_kept() -> None:
    tries = Tries(ask(1, check=check))
    actions = [verdict and verdict.action for verdict in (tries.read(Reply("no"), "none", 2) for _ in range(3))]
    assert actions == [Action.RETRY, Action.RETRY, None]
    assert tries.result().response == "no"


def test_a_cut_answer_is_not_checked() -> None:
    assert Tries(ask(1, check=check)).read(Reply("no", finish_reason="length"), "none", 2) is None


def test_what_asking_again_can_not_mend_fails_the_row_and_hides_the_key() -> None:
    verdict = Tries(ask(1)).read(Reply(problem="refused sk-1", final=True), "sk-1", 2)
    assert verdict is not None
    assert (verdict.action, verdict.reason) == (Action.FAIL_ROW, "refused ***")
