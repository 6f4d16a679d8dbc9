"""Is what dedup removes a duplicate, and does it find them? On true labels beside semhash and text-dedup, and beside brute force on 100,000 real texts.

Labelled: 600 exam problems and the same in other words (all other pairs are different); pairs of bibliographic records; Chinese pairs of many common words,
half of them of another meaning; Chinese questions, the same when their context and their answer are. Each tool says which text stands for which; two texts
with one stand-in are taken for duplicates. By meaning, boostqa and semhash get the same vectors of the bundled English model; boostqa leaves alone what the
model can not read. By words, boostqa and text-dedup take shingles of 3 words (boostqa: of 5 characters in Chinese). The last row of each set is
`boostqa dedup FILE` as it is, by words and meaning together, through Spark.

Real texts: sentences, exam questions and answers go through the steps embed and dedup as conf/local.yaml has them. The truth is every pair at cosine .90,
by brute force over all rows. Texts with equal vectors count as one: they collapse before anything is compared.

    make bench-dedup_quality                     about 25 minutes; the first time some more for the peers' environments
    make bench-dedup_quality ARGS="--quick"      a few minutes, on a part of each, and no result file
    make bench-dedup_quality ARGS="--multilingual NAME"    the Chinese questions also by another model: a name of the hub, or a folder

Expected before the first look: rephrased problems by meaning at .90 F1 .55 and at .80 .9, precision over .99; by words none at .7. Records F1 .75 at .90 by
meaning. Chinese by meaning: nothing removed by boostqa, a precision under .05 by semhash. Recall on real texts .998.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import goal, write_result
from dedup_answers import MAX_UNKNOWN, THRESHOLD, by_meaning, by_words, command_rows, own_rows, peer_rows
from labelled_sets import Labelled, labelled_sets
from real_recall import RealRows
from real_rows import distinct, short_texts

from etl.session import get_spark
from udfs.embedding import embed_texts
from udfs.embedding_model import EmbedSettings, load_model

Row = dict[str, Any]
MEANING, WORDS = (0.80, 0.85, 0.90, 0.95), (0.5, 0.6, 0.7, 0.8)


def labelled_rows(labelled: Labelled, folder: Path) -> list[Row]:
    """All tools on one set."""
    started = time.monotonic()
    made = embed_texts(load_model(EmbedSettings()), labelled.texts)
    unread = int((made.unknown_share > MAX_UNKNOWN).sum())
    told = {"seconds": round(time.monotonic() - started, 1), "unreadable": unread, "cut": int(made.cut.sum())}
    rows: list[Row] = [{"what": "embedded", "set": labelled.name, "size": len(labelled.texts), **told}]
    rows += own_rows("boostqa, meaning", labelled, lambda t: by_meaning(made, labelled.texts, t).tolist(), MEANING)
    rows += peer_rows("semhash", labelled, made.vectors, MEANING)
    rows += own_rows("boostqa, words", labelled, lambda t: by_words(labelled.texts, t).tolist(), WORDS)
    rows += peer_rows("text-dedup", labelled, made.vectors, WORDS)
    return rows + command_rows(labelled, folder)


def multilingual_rows(labelled: Labelled, name: str | None) -> list[Row]:
    """The Chinese questions by a model that reads Chinese, where there is one."""
    what = {"what": "boostqa, meaning, multilingual model", "set": labelled.name, "size": len(labelled.texts)}
    if name is None:
        return [{**what, "reason": "no multilingual model is bundled and none was named: --multilingual NAME"}]
    made = embed_texts(load_model(EmbedSettings(model=name)), labelled.texts)
    rows = own_rows("", labelled, lambda t: by_meaning(made, labelled.texts, t).tolist(), MEANING)
    unread = int((made.unknown_share > MAX_UNKNOWN).sum())
    return [{**row, **what, "model": name, "unreadable": unread} for row in rows]


def goals_of(rows: list[Row]) -> list[Row]:
    """What the figures are held against."""

    def figure(what: str, name: str, threshold: float, key: str = "f1") -> float:
        picked = [r for r in rows if (r["what"], r.get("set"), r.get("threshold")) == (what, name, threshold)]
        return float(picked[0][key]) if picked else 0.0

    real = next(row for row in rows if row["what"] == "real texts")
    told = "boostqa dedup FILE, by meaning"
    chinese = figure(told, "cmrc2018_questions", THRESHOLD, "precision")
    goals = [
        goal("recall of pairs beside brute force, real texts, cosine .90", real["recall"], 0.99, "", at_most=False),
        goal("rows of that bench", real["size"], 100_000, "rows", at_most=False),
        goal("orphans among the removed real texts", real["orphans"], 0, "rows"),
        goal("precision on Chinese questions, English model", chinese, 0.99, "", at_most=False),
    ]
    several = figure("boostqa, meaning, multilingual model", "cmrc2018_questions", THRESHOLD, "precision")
    if any("multilingual" in row["what"] and "model" in row for row in rows):
        goals.append(goal("precision on Chinese questions, multilingual model", several, 0.99, "", at_most=False))
    trap = figure(told, "paws_x_zh", THRESHOLD, "precision")
    goals.append(goal("precision on Chinese pairs of another meaning", trap, 0.99, "", at_most=False))
    for name in ("gsm8k_rephrased", "dblp_acm"):
        ours, theirs = (figure(what, name, THRESHOLD) for what in ("boostqa, meaning", "semhash"))
        goals.append(goal(f"F1 by meaning less semhash's, {name}", round(ours - theirs, 4), -0.005, "", at_most=False))
    for name in ("dblp_acm", "cmrc2018_questions"):
        ours, theirs = (figure(what, name, 0.7) for what in ("boostqa, words", "text-dedup"))
        goals.append(goal(f"F1 by words less text-dedup's, {name}", round(ours - theirs, 4), -0.005, "", at_most=False))
    return goals


def main() -> int:
    """Measures everything; a try writes no result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a part of each set, and no result file")
    parser.add_argument("--rows", type=int, default=100_000, help="real texts (default: 100,000)")
    parser.add_argument(
        "--multilingual", metavar="NAME", help="a model that reads Chinese: a name of the hub, or a folder"
    )
    parser.add_argument("--keep", type=Path, help="a folder for the warehouse: another run embeds nothing again")
    args = parser.parse_args()
    count = 5_000 if args.quick else args.rows
    spark = get_spark()
    with tempfile.TemporaryDirectory() as place:
        rows: list[Row] = []
        for labelled in labelled_sets(150 if args.quick else None):
            rows += _shown(labelled_rows(labelled, Path(place)))
            if labelled.name == "cmrc2018_questions":
                rows += _shown(multilingual_rows(labelled, args.multilingual))
        real = RealRows(spark, (args.keep or Path(place)) / f"warehouse-{count}", distinct(short_texts(), count))
        rows += _shown([real.measure()])
    goals = goals_of(rows)
    if args.quick:
        print(*goals, sep="\n")
        return 0
    return 0 if write_result("dedup_quality", rows, goals) else 1


def _shown(rows: list[Row]) -> list[Row]:
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()), flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
