"""What curation knows of a document from its own text: rules, quality, personal data, and the keys by which it meets its like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.minhash import MinHashSettings
from udfs.near import KEYS_DDL, near_keys
from udfs.privacy import redact
from udfs.quality import QualitySettings, first_failure, quality_score, rule_values
from udfs.text import normal_hash

# A good question with its answer may be short: "What is 7 x 8? 56."
MIN_PAIR_UNITS = 4
FEATURES_DDL = (
    "doc_id string, document_hash bigint, normal_hash string, reason string, quality double, rules map<string,double>, personal_data array<string>, "
    f"clean_text string, clean_question string, clean_answer string, {KEYS_DDL}"
)
_STRINGS = pa.list_(pa.string())
Values = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class CurationSettings:
    """The thresholds; `personal_data` is `redact`, `flag` or `off`."""

    quality: QualitySettings
    minhash: MinHashSettings
    personal_data: str


def features(batch: pa.RecordBatch, settings: CurationSettings) -> pa.RecordBatch:
    """Computes one row of FEATURES_DDL for each document (columns doc_id, document_hash, text, question, answer, lang, kind)."""
    texts, langs, kinds = (batch.column(name).to_pylist() for name in ("text", "lang", "kind"))
    values = rule_values(texts, langs)
    rules = [
        [(name, float(column[i])) for name, column in values.items() if not np.isnan(column[i])]
        for i in range(len(texts))
    ]
    known = {
        "doc_id": batch.column("doc_id"),
        "document_hash": batch.column("document_hash"),
        "normal_hash": pa.array([normal_hash(text) for text in texts], pa.string()),
        "reason": pa.array(_failures(values, langs, kinds, settings.quality), pa.string()),
        "quality": pa.array(quality_score(values, settings.quality), pa.float64()),
        "rules": pa.array(rules, pa.map_(pa.string(), pa.float64())),
        **personal_data(batch, settings.personal_data),
        **near_keys(texts, settings.minhash),
    }
    return pa.RecordBatch.from_pydict(known)


def personal_data(batch: pa.RecordBatch, policy: str) -> dict[str, pa.Array]:
    """Returns the kinds of personal data in each document, and where the policy is `redact` its texts with them replaced (else null)."""
    kinds: list[set[str]] = [set() for _ in range(batch.num_rows)]
    columns: dict[str, pa.Array] = {}
    for name in ("text", "question", "answer"):
        found = [redact(text) if text and policy != "off" else ("", ()) for text in batch.column(name).to_pylist()]
        for known, (_, new) in zip(kinds, found, strict=True):
            known.update(new)
        clean = [text if new and policy == "redact" else None for text, new in found]
        columns[f"clean_{name}"] = pa.array(clean, pa.string())
    return {"personal_data": pa.array([sorted(known) for known in kinds], _STRINGS), **columns}


def _failures(values: Values, langs: Sequence[str], kinds: Sequence[str], quality: QualitySettings) -> list[str | None]:
    passages = first_failure(values, langs, quality)
    pairs = first_failure(values, langs, replace(quality, min_units=MIN_PAIR_UNITS, min_units_unspaced=MIN_PAIR_UNITS))
    return [pair if kind == "qa" else passage for kind, passage, pair in zip(kinds, passages, pairs, strict=True)]
