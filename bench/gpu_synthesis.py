"""What Spark and the ledger cost an engine that runs in the workers: the prompts of `synthesize` and `refine`, by the ledger and by the bare engine.

The same requests in the same order, in turns, each side with the same threads; the first turn, which loads the model, is not counted. Without --model it is
a random model on the CPU, whose answers are noise and whose speed says nothing: only the shares count. A wave costs some seconds however large it is: the share
with them hangs on --requests. On a GPU: ARGS="--model NAME --device cuda:0 --requests 20000".

Expected before the first look, on two cores: 97 % of the bare engine while it answers, 90 % with the making of the wave and its commit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, goal, write_result

THREADS = str(os.cpu_count() or 1)
# Read when torch is loaded, here and in the workers, to which Spark would give one thread for each core of a task.
os.environ["OMP_NUM_THREADS"] = THREADS
os.environ["PYSPARK_SUBMIT_ARGS"] = f"--conf spark.executorEnv.OMP_NUM_THREADS={THREADS} pyspark-shell"
WINDOW, TEXT, ANSWER = 4096, 400, 48
GRADES = ("elementary", "high_school", "graduate")


def random_model(folder: Path) -> str:
    """A GPT-2 over bytes, large enough that its arithmetic and not its calls take the time."""
    from transformers import GPT2Config, GPT2LMHeadModel, set_seed

    from tests.udfs.engines.tiny_model import make_tiny_model

    name = make_tiny_model(folder)
    sizes = {
        **json.loads((folder / "config.json").read_text("utf-8")),
        "n_positions": WINDOW,
        "n_embd": 128,
        "n_head": 4,
    }
    set_seed(7)
    GPT2LMHeadModel(GPT2Config(**{**sizes, "n_layer": 4, "n_ctx": WINDOW})).save_pretrained(folder)
    return name


def requests(model: str, count: int, turn: int) -> list[dict[str, Any]]:
    """Rows for the ledger: two thirds questions in three grades, one third refinements, all from the passages of samples/; each turn has ids of its own."""
    import pyarrow as pa

    from udfs.requests import Asking, add_requests

    lines = (ROOT / "samples/corpus/science/science.jsonl").read_text("utf-8").splitlines()
    # One record of the file is cut on purpose.
    whole = [line for line in lines if '"body"' in line and line.endswith("}")]
    texts = [json.loads(line)["body"][:TEXT] for line in whole][: count // 3]
    params = {"max_tokens": ANSWER, "temperature": 0.0}
    pair = {"question": "What does the passage say?", "answer": "It says what stands in it."}
    made: list[dict[str, Any]] = []
    for n in range(count):
        text, task = texts[n % len(texts)], "refine" if n % 3 == 2 else "multi_grade"
        more = pair if task == "refine" else {"grade": GRADES[n % len(GRADES)], "n": 3}
        row = {"lang": "en", "text": f"{n}: {text}", "sample": turn, **more}
        added = add_requests(pa.RecordBatch.from_pylist([row]), Asking(task, model, params)).to_pylist()[0]
        made.append({name: added[name] for name in COLUMNS} | {"prefix": f"{n // 3:05}"})
    return sorted(made, key=lambda row: (row["prefix"], row["request_id"]))


COLUMNS = ("request_id", "task", "prompt_id", "model", "params", "sample", "messages")


def bare(kind: str, device: str, batch: int, turns: list[list[dict[str, Any]]], out: Any, go: Any) -> None:
    """The engine alone, in a process of its own: a turn at each word, answered with its seconds and tokens."""
    from udfs.engines import EngineSpec, load_engine
    from udfs.waves import request_of

    engine = load_engine(EngineSpec(kind, device=device, batch_size=batch))
    for rows in turns:
        go.recv()
        asked = [request_of({**row, "attempt": 0}) for row in rows]
        started = time.monotonic()
        results = engine.complete(asked)
        out.send((time.monotonic() - started, sum(result.completion_tokens for result in results)))


class ByLedger:
    """The same by Spark and the ledger, with one worker."""

    def __init__(self, folder: Path, kind: str, device: str, batch: int) -> None:
        from etl.ledger import Ledger
        from etl.session import get_spark
        from etl.tables import Tables
        from tests.etl.tiny import make_config

        llm = {"endpoint": kind, "device": device, "batch_size": batch, "workers": 1}
        config = make_config(folder, llm=llm)
        self.batch = batch
        self.tables = Tables(get_spark("local[1]"), config.tables)
        self.ledger = Ledger(self.tables, config.llm, "bench", list)

    def ask(self, rows: list[dict[str, Any]]) -> dict[str, float]:
        """Asks a turn; seconds in all, and those from the first prompt to the last answer."""
        ddl = ", ".join(f"{name} {'int' if name == 'sample' else 'string'}" for name in rows[0])
        frame = self.tables.spark.createDataFrame([tuple(row.values()) for row in rows], ddl)
        started = time.monotonic()
        asked = self.ledger.ask(frame)
        seconds = time.monotonic() - started
        if asked != len(rows):
            raise RuntimeError(f"{asked} of {len(rows)} requests were asked")
        calls = self.tables.read("llm_calls").join(frame.select("request_id"), "request_id", "left_semi")
        ends = "unix_micros(max(created_at)) - unix_micros(min(created_at))"
        # From the first answers to the last; a batch's answers come together, and the first batch took its time before.
        first = f"{self.batch} * min_by(latency_s, created_at)"
        total = calls.selectExpr(f"({ends}) / 1e6 + {first} AS answering", "sum(completion_tokens) AS tokens").first()
        assert total is not None
        return {"seconds": seconds, "answering_seconds": total["answering"], "tokens": total["tokens"]}


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Takes turns: one to load the model on both sides, then `--turns` that count."""
    model = args.model or random_model(folder / "model")
    turns = [requests(model, args.requests, turn) for turn in range(args.turns + 1)]
    spawn = multiprocessing.get_context("spawn")
    (out, sent), (heard, go) = spawn.Pipe(False), spawn.Pipe(False)
    process = spawn.Process(target=bare, args=(args.engine, args.device, args.batch, turns, sent, heard), daemon=True)
    process.start()
    # Else the end of that process would not be heard here.
    sent.close()
    ledger = ByLedger(folder / "warehouse", args.engine, args.device, args.batch)
    rows = []
    for turn, asked in enumerate(turns):
        go.send(turn)
        alone, tokens = out.recv()
        spark = ledger.ask(asked)
        if tokens != spark["tokens"]:
            print(f"turn {turn}: {tokens} tokens by the engine alone, {spark['tokens']} by the ledger")
        row = {
            "what": args.engine,
            "turn": turn,
            "requests": len(asked),
            "model": args.model or "random, 4 layers of 128",
        }
        row |= {"device": args.device, "threads": int(THREADS), "tokens": tokens, "bare_seconds": round(alone, 2)}
        row |= {name: round(value, 2) for name, value in spark.items() if name != "tokens"}
        row |= {
            "share": round(alone / spark["answering_seconds"], 4),
            "share_in_all": round(alone / spark["seconds"], 4),
        }
        print(row)
        rows.append(row)
    return rows


def main() -> int:
    """Measures, writes the result; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="transformers", choices=("transformers", "vllm"))
    parser.add_argument("--model", help="a name of the hub or a folder; without it a random one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    # On a CPU, a turn of less than a minute: Spark ends workers that wait longer, as they do here while the other side is at it.
    parser.add_argument("--requests", type=int, default=120)
    parser.add_argument("--turns", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="synthesis-") as folder:
        rows = measure(args, Path(folder))
    names = {"share": "while it answers", "share_in_all": "with the start and the commit of a wave"}
    goals = [
        goal(
            f"{args.engine} by the ledger against the bare engine, {words}",
            round(100 * statistics.median(row[name] for row in rows[1:]), 1),
            95,
            "%",
            at_most=False,
        )
        for name, words in names.items()
    ]
    return 0 if write_result("gpu_synthesis", rows, goals) else 1


if __name__ == "__main__":
    sys.exit(main())
