"""A model in vLLM's engine, inside this process, on a thread of its own: it works on while its caller writes answers down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from udfs.engines.in_worker import Answer, not_loaded
from udfs.engines.protocol import FatalEngineError

# Set before vLLM is imported, each only where the user has not.
ENVIRONMENT = {
    # The engine's own process would outlive a worker that Spark kills, and keep the GPU's memory from the next one.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # It would tell a server of its makers about this machine.
    "VLLM_NO_USAGE_STATS": "1",
}
# By itself a build for CPUs takes nearly all of the machine's memory for its cache, with Spark beside it.
CPU_CACHE_BYTES = 4 * 2**30
GPUS = "CUDA_VISIBLE_DEVICES"

_own_gpu: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class _Job:
    key: str
    ids: list[int]
    sampling: Any
    answer: Future[Answer]
    asked: float


class VllmModel:
    """One model and its queue. All calls of vLLM are made on one thread; the methods here may be called from any other.

    `ready` is over when the model is loaded, or holds the FatalEngineError that says why it is not.
    """

    def __init__(self, name: str, device: str, options: dict[str, Any]) -> None:
        self.name = name
        self._engine: Any = None
        self._asked: dict[str, _Job] = {}
        self._unenforced: set[str] = set()
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vllm")
        self.ready = self._thread.submit(self._load, device, options)

    @property
    def window(self) -> int:
        """Tokens of a prompt and its answer together that the loaded model can hold."""
        return int(self._engine.model_config.max_model_len)

    def ask(self, key: str, ids: list[int], sampling: Any) -> Future[Answer]:
        """Queues a prompt under a key of its own; vLLM decides what it works on together.

        The answer is an error where vLLM refuses the prompt. The future raises RuntimeError where vLLM has broken down: only another process helps then.
        """
        job = _Job(key, ids, sampling, Future(), time.monotonic())
        self._run(partial(self._add, job))
        return job.answer

    def drop(self) -> Future[None]:
        """Takes all prompts back that are not answered yet. Over when vLLM no longer works on them."""
        return self._run(self._abort)

    def close(self) -> None:
        """Drops what is not answered and frees the memory. Safe to call twice."""
        if self._engine is not None:
            self.drop().exception()
            self._thread.submit(self._unload).result()
        self._thread.shutdown()

    def _run(self, work: Callable[[], None]) -> Future[None]:
        self._inbox.put(work)
        pump = self._thread.submit(self._pump)
        pump.add_done_callback(self._after)
        return pump

    def _pump(self) -> None:
        """Steps until all is answered; looks before each step for what has come in since."""
        while True:
            while not self._inbox.empty():
                self._inbox.get()()
            if not self._asked:
                return
            for output in self._engine.step():
                if output.finished:
                    self._finish(output)

    def _after(self, pump: Future[None]) -> None:
        error = pump.exception()
        if error is None:
            return
        asked, self._asked = self._asked, {}
        words = " ".join(str(error).split()) or type(error).__name__
        for job in asked.values():
            job.answer.set_exception(RuntimeError(f"vLLM broke down with the model {self.name!r}: {words}"))

    def _add(self, job: _Job) -> None:
        self._asked[job.key] = job
        structured = job.sampling.structured_outputs
        if structured is not None and structured.json in self._unenforced:
            job.sampling.structured_outputs = None
        try:
            self._engine.add_request(job.key, {"type": "token", "prompt_token_ids": job.ids}, job.sampling)
        except refusals() as error:
            if not self._again_without_schema(job):
                del self._asked[job.key]
                job.answer.set_result(Answer(error=f"vLLM refuses the request: {' '.join(str(error).split())}"))

    def _again_without_schema(self, job: _Job) -> bool:
        """Leaves out a JSON schema that vLLM can not enforce, now and later: answers are mended and checked anyway. False where there is none."""
        structured = job.sampling.structured_outputs
        if structured is None:
            return False
        job.sampling.structured_outputs = None
        self._add(job)
        if job.key in self._asked:
            self._unenforced.add(structured.json)
        return True

    def _finish(self, output: Any) -> None:
        job = self._asked.pop(output.request_id, None)
        if job is None:
            return
        made, seconds = output.outputs[0], time.monotonic() - job.asked
        if made.finish_reason in ("stop", "length"):
            job.answer.set_result(Answer(made.text, made.finish_reason, len(made.token_ids), seconds))
        elif not self._again_without_schema(job):
            job.answer.set_result(Answer(error=f"vLLM gave the request up ({made.finish_reason})"))

    def _abort(self) -> None:
        asked, self._asked = self._asked, {}
        self._engine.abort_request(list(asked))

    def _load(self, device: str, options: dict[str, Any]) -> None:
        prepare(device)
        try:
            from vllm import EngineArgs, LLMEngine
            from vllm.platforms import current_platform

            check_device(device, current_platform.device_type)
            if current_platform.device_type == "cpu":
                options = {"kv_cache_memory_bytes": CPU_CACHE_BYTES, **options}
            self._engine = LLMEngine.from_engine_args(EngineArgs(model=self.name, **options))
        except FatalEngineError:
            raise
        except Exception as error:
            raise not_loaded(self.name, error) from error

    def _unload(self) -> None:
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._engine.engine_core.shutdown()
        self._engine = None
        cleanup_dist_env_and_memory()


def prepare(device: str) -> None:
    """Sets the environment that vLLM reads when it is imported; `cuda:1` leaves this process the second of its GPUs alone.

    Raises FatalEngineError for a GPU that is not there, or not the one that this process has a model on already.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    kind, _, number = device.partition(":")
    if kind != "cuda" or not number or _own_gpu.get(device):
        return
    if _own_gpu:
        raise FatalEngineError(
            f"a worker that has its models on {next(iter(_own_gpu))} was given {device}: let every executor have one GPU "
            "(spark.executor.resource.gpu.amount=1)"
        )
    visible = os.environ.get(GPUS)
    choice = number if visible is None else dict(enumerate(visible.split(","))).get(int(number), "")
    if not choice:
        raise FatalEngineError(f"there is no {device} among the GPUs of {GPUS}={visible}")
    _own_gpu[device] = os.environ[GPUS] = choice


def check_device(device: str, built_for: str) -> None:
    """Raises FatalEngineError where the installed vLLM is built for other devices than the one that is asked for."""
    kind = device.partition(":")[0]
    if kind not in ("auto", built_for):
        raise FatalEngineError(
            f"llm.device is {device}, and the vllm that is installed works on {built_for or 'no device of this machine'}: "
            "set llm.device to auto, or install the build for that device"
        )


def refusals() -> tuple[type[Exception], ...]:
    """The errors by which vLLM refuses a request, in older versions and in newer ones."""
    from vllm import exceptions

    return (ValueError, TypeError, getattr(exceptions, "VLLMClientError", ValueError))
