"""From rows to LLM requests and from recorded calls to answers, a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from udfs.engines.protocol import ChatResult
from udfs.tasks import TASKS, Parsed, Row
from udfs.text import stable_id

REQUEST_FIELDS = [
    pa.field("request_id", pa.string()),
    pa.field("task", pa.string()),
    pa.field("prompt_id", pa.string()),
    pa.field("model", pa.string()),
    pa.field("params", pa.string()),
    pa.field("sample", pa.int32()),
    pa.field("messages", pa.string()),
]
REQUEST_DDL = (
    "request_id string, task string, prompt_id string, model string, params string, sample int, messages string"
)


@dataclass(frozen=True)
class Asking:
    """What is asked of each row: the task, the model, its parameters, and values that all rows share (`shared`)."""

    task: str
    model: str
    params: Mapping[str, Any]
    shared: Mapping[str, Any] = field(default_factory=dict)


def params_json(params: Mapping[str, Any]) -> str:
    """Writes sampling parameters as the ledger keeps them; a null one is left out, so that a profile can take a default away."""
    return json.dumps({name: value for name, value in params.items() if value is not None}, sort_keys=True)


def add_requests(batch: pa.RecordBatch, asking: Asking) -> pa.RecordBatch:
    """Adds the columns of REQUEST_FIELDS to a batch whose columns are the task's row keys, `lang` and `sample`."""
    task = TASKS[asking.task]
    params = params_json(asking.params)
    made: list[dict[str, Any]] = []
    for row in batch.to_pylist():
        prompt_id = task.prompt_id(row["lang"])
        messages = json.dumps(task.render({**asking.shared, **row}), ensure_ascii=False)
        request_id = stable_id(asking.task, prompt_id, asking.model, params, messages, str(row["sample"]))
        made.append(
            {
                "request_id": request_id,
                "task": asking.task,
                "prompt_id": prompt_id,
                "model": asking.model,
                "params": params,
                "sample": row["sample"],
                "messages": messages,
            }
        )
    added = pa.RecordBatch.from_pylist(made, schema=pa.schema(REQUEST_FIELDS))
    kept = [name for name in batch.schema.names if name != "sample"]
    return pa.RecordBatch.from_arrays(
        [*[batch.column(name) for name in kept], *added.columns], names=[*kept, *added.schema.names]
    )


def read_answer(row: Row, asking: Asking) -> Parsed:
    """Reads the recorded call in a row (columns response, status, error, finish_reason) as its task's answer; never raises."""
    result = ChatResult(
        request_id=row["request_id"],
        status=row["status"],
        response=row["response"] or "",
        finish_reason=row["finish_reason"] or "",
        error=row["error"] or "",
    )
    return TASKS[asking.task].read(result, {**asking.shared, **row})
