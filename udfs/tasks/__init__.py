"""LLM tasks: each one file with a prompt id, `render` and `parse`, over versioned prompts in `udfs/prompts`."""

from __future__ import annotations

from udfs.tasks import (
    annotate,
    cluster_criteria,
    cluster_texts,
    cluster_verify,
    high_difficulty,
    multi_grade,
    probe,
    refine,
)
from udfs.tasks.task import Parsed, Row, Task

__all__ = ["TASKS", "Parsed", "Row", "Task"]

MODULES = (annotate, multi_grade, high_difficulty, refine, probe, cluster_criteria, cluster_texts, cluster_verify)
TASKS: dict[str, Task] = {module.TASK.name: module.TASK for module in MODULES}
