from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from etl.errors import BudgetStop, UserError
from etl.failures import explain, first_line, user_line
from udfs.engines.protocol import FatalEngineError
from udfs.storage import StorageError
from udfs.tokens import TokenizerError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FROM_A_WORKER = """\
[UDF_ERROR] An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "udfs/tokens.py", line 145, in _load
ValueError: no such file

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "udfs/tokens.py", line 139, in _load
udfs.tokens.TokenizerError: ingest.tokenizer: there is no file /nowhere/tokenizer.json

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:581)
"""


@pytest.mark.parametrize(
    "err",
    [UserError("a: wrong"), TokenizerError("a: wrong"), StorageError("a: wrong"), FatalEngineError("a: wrong")],
    ids=lambda err: type(err).__name__,
)
def test_an_error_that_the_user_can_mend_is_its_own_line(err: Exception) -> None:
    assert explain(err) == explain(UserError("a:  \n wrong"))
    assert (explain(err).line, explain(err).exit_code) == ("a: wrong", 2)


def test_a_used_up_budget_can_be_continued() -> None:
    assert explain(BudgetStop("the budget is used up")).exit_code == 3


def test_a_users_error_is_found_in_the_words_of_a_worker() -> None:
    assert user_line(RuntimeError(FROM_A_WORKER)) == "ingest.tokenizer: there is no file /nowhere/tokenizer.json"


def test_a_missing_package_names_the_extra() -> None:
    on_a_worker = RuntimeError("Traceback:\nModuleNotFoundError: No module named 'sentence_transformers'")
    assert "pip install 'boostqa[embed]'" in (user_line(on_a_worker) or "")
    assert "pip install 'boostqa[track]'" in (user_line(ModuleNotFoundError("no mlflow", name="mlflow")) or "")


def test_our_own_missing_module_is_not_the_users() -> None:
    assert user_line(ModuleNotFoundError("no etl.nonsense", name="etl.nonsense")) is None


def test_an_unexpected_error_is_one_line_and_a_file_with_the_traceback(tmp_path: Path) -> None:
    try:
        {}["what"]
    except KeyError as err:
        told = explain(err, tmp_path)
    log = re.search(r"the full traceback is in (\S+)\)", told.line)
    assert told.exit_code == 1
    assert "\n" not in told.line
    assert log is not None
    assert "test_failures.py" in Path(log[1]).read_text("utf-8")


def test_the_first_line_is_short_and_names_the_kind() -> None:
    assert first_line(ValueError("\n\n  one\ntwo")) == "ValueError: one"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 5000))) <= 600


def test_what_a_real_worker_raises_reaches_the_user_as_one_line(spark: SparkSession) -> None:
    def fail(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise StorageError("s3://bucket/x: no credentials")

    with pytest.raises(Exception, match="no credentials") as caught:
        spark.range(1).mapInArrow(fail, "id bigint").collect()
    assert user_line(caught.value) == "s3://bucket/x: no credentials"
