"""The LLM endpoint of a run: the configured addresses, or a stand-in teacher that is started when the first request is needed."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from etl.config import LlmConfig


class Endpoint:
    """Gives the base URLs; stops the stand-in teacher, if one was started, at the end of the run."""

    def __init__(self, llm: LlmConfig) -> None:
        self._llm = llm
        self._teacher: Any = None

    def base_urls(self) -> list[str]:
        """Returns the addresses to ask; starts the stand-in teacher once where the config says so."""
        if self._llm.endpoint != "stand-in":
            return list(self._llm.base_urls)
        if self._teacher is None:
            from udfs.engines.teacher_process import start_teacher

            self._teacher = start_teacher()
        return [self._teacher.base_url]

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._teacher is not None:
            self._teacher.stop()
