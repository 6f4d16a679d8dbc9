"""How the stand-in teacher answers the cluster agent: by the words that texts share. Placeholders, like all its answers."""

from __future__ import annotations

import re
from typing import Any

from udfs.engines.teacher_text import WORD, language_of, topic_of

SHARED = 0.15  # of the fewer terms of two texts: what is alike enough for one cluster
MIN_LETTERS = 5
ZH_RUN = re.compile(r"[\u4e00-\u9fff]{2,}")
METRICS = {
    "numbers": ("Texts with about as many numbers belong together.", ("none", "one", "a few", "many", "a table")),
    "sentence length": ("Texts with sentences of about one length belong together.", ("bare", "short", "even", "long", "endless")),
    "technical terms": ("Texts with about as many technical terms belong together.", ("none", "few", "some", "many", "all")),
}  # fmt: skip


def find_criteria(texts: list[str]) -> dict[str, Any]:
    """Names the topics of the texts as metadata, and the same three metrics for any text."""
    topics = list(dict.fromkeys(topic_of(text, language_of(text)) for text in texts))[:5]
    metadata = [{"name": topic, "criteria": f"Texts that speak of {topic} belong together."} for topic in topics]
    metrics = [{"name": name, "criteria": what, "levels": list(levels)} for name, (what, levels) in METRICS.items()]
    return {"metadata": metadata, "metrics": metrics}


def sort_texts(texts: list[str]) -> dict[str, Any]:
    """Puts each text into the first cluster whose first text shares enough terms with it, else into one of its own."""
    terms = [terms_of(text) for text in texts]
    clusters: list[list[int]] = []
    for number, own in enumerate(terms):
        home = next((c for c in clusters if _alike(terms[c[0]], own)), None)
        if home is None:
            clusters.append([number])
        else:
            home.append(number)
    return {"clusters": [_cluster(n, members, terms) for n, members in enumerate(clusters, 1)]}


def _cluster(number: int, members: list[int], terms: list[set[str]]) -> dict[str, Any]:
    shared = sorted(set.intersection(*(terms[member] for member in members)))[:3]
    reasoning = f"they share: {', '.join(shared)}" if len(members) > 1 else "like no other sample"
    return {"cluster": number, "samples": [member + 1 for member in members], "reasoning": reasoning}


def verify_clusters(texts: list[str], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    """Finds a cluster valid when all its texts have a term in common."""
    verdicts = []
    for cluster in clusters:
        held = [terms_of(texts[n - 1]) for n in cluster["samples"] if 1 <= n <= len(texts)]
        common = sorted(set.intersection(*held)) if held else []
        valid = len(held) == 1 or bool(common)
        reason = f"all have {common[0]!r}" if common else "no term is in all of them"
        verdicts.append({"cluster": cluster["cluster"], "valid": int(valid), "reason": reason})
    return {"verdicts": verdicts}


def terms_of(text: str) -> set[str]:
    """Longer words, in small letters and without a final s, and pairs of Chinese characters."""
    words = {word.lower().rstrip("s") for word in WORD.findall(text) if len(word) >= MIN_LETTERS}
    return words | {run[at : at + 2] for run in ZH_RUN.findall(text) for at in range(len(run) - 1)}


def _alike(one: set[str], other: set[str]) -> bool:
    return len(one & other) >= max(1.0, SHARED * min(len(one), len(other)))
