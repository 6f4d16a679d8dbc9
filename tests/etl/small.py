"""A corpus of fourteen records, run by more than one test: on the session of the tests, killed and run again, and on a cluster."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl.tables import Tables
from tests.etl.tiny import ROOT, make_config, source, write_jsonl

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.config import Config

PASSAGES, PAIRS = "samples/corpus/science/science.jsonl", "samples/corpus/qa_en/questions.jsonl"
FIELDS = {
    "passages": {"text": "body", "id": "uid"},
    "pairs": {"question": "prompt", "answer": "reply", "id": "q_id"},
    "zh": {"text": "正文", "id": "编号"},
}
WORKERS = 2


@dataclass(frozen=True)
class Small:
    """The small corpus run to `refine` in `warehouse`; `planned` is a copy of what it was after `plan`."""

    corpus: Path
    planned: Path
    warehouse: Path
    config: Config

    def tables(self, spark: SparkSession) -> Tables:
        return Tables(spark, self.config.tables)


def small_corpus(folder: Path) -> Path:
    """Six passages, five pairs and three Chinese passages of the samples, and a line that is no record."""
    lines = (ROOT / PASSAGES).read_text("utf-8").splitlines()
    write_jsonl(folder / "passages.jsonl", [json.loads(line) for line in lines[:6]])
    with (folder / "passages.jsonl").open("a") as file:
        file.write("not JSON\n")
    lines = (ROOT / PAIRS).read_text("utf-8").splitlines()
    write_jsonl(folder / "pairs.jsonl", [json.loads(line) for line in lines[7:12]])
    with (ROOT / "samples/corpus/zh_humanities/zh_humanities.tsv").open(encoding="utf-8") as file:
        chinese = list(csv.DictReader(file, delimiter="\t"))[:3]
    write_jsonl(folder / "zh.jsonl", chinese)
    return folder


def shuffled(corpus: Path, folder: Path) -> Path:
    """The same records in another order, in another folder."""
    folder.mkdir(parents=True)
    for path in sorted(corpus.iterdir(), reverse=True):
        lines = path.read_text("utf-8").splitlines()
        random.Random(5).shuffle(lines)
        (folder / path.name).write_text("\n".join(lines), "utf-8")
    return folder


def small_config(corpus: Path | str, warehouse: Path | str, base_url: str, **sections: Any) -> Config:
    """The settings of a run on the small corpus, with a stand-in teacher that is already there."""
    sources = [source(name, f"{corpus}/{name}*", format="jsonl", fields=FIELDS[name]) for name in FIELDS]
    llm = {"endpoint": "urls", "base_urls": [base_url], "workers": WORKERS, **sections.pop("llm", {})}
    return make_config(warehouse, sources=sources, llm=llm, plan={"total_tokens": 6_000}, **sections)
