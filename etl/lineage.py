"""From any row back to where it comes from: the rows of all tables that belong to one id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etl.tables import Tables
from udfs.text import text_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A passage may have served many questions; a page shows so many of them.
MAX_ROWS = 50
Record = dict[str, Any]


@dataclass(frozen=True)
class Lineage:
    """What is known of one id. `kind` tells what the id names; `rows` holds the rows of each table that belong to it; `versions` the tables' versions."""

    id: str
    kind: str
    rows: dict[str, list[Record]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


def find_lineage(tables: Tables, wanted: str) -> Lineage | None:
    """Looks an id up: of a document, a draft, a question (also as exported), or a request. Returns None when no table has it."""
    found = _Finder(tables)
    kind = found.start(wanted)
    if kind is None:
        return None
    found.follow()
    return Lineage(wanted, kind, found.rows, {name: tables.version(name) for name in found.rows})


class _Finder:
    """Collects the rows of one lineage, table by table, each looked up once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.rows: dict[str, list[Record]] = {}

    def start(self, wanted: str) -> str | None:
        """Finds the id's own row, and tells what the id names."""
        ways = [
            ("qa_id", "refinements", "question"),
            ("draft_id", "drafts", "draft"),
            ("doc_id", "documents", "document"),
        ]
        for column, table, kind in ways:
            if self._take(table, column, [wanted]):
                return kind
        if not self._take("llm_calls", "request_id", [wanted]):
            return None
        self._take("refinements", "request_id", [wanted]) or self._take("drafts", "request_id", [wanted])
        self._take("probe_results", "request_id", [wanted])
        return "request"

    def follow(self) -> None:
        """Goes from what was found to what it was made of, and to what was made of it."""
        self._take("drafts", "draft_id", self._ids("refinements", "draft_id"))
        if "documents" in self.rows and "drafts" not in self.rows:
            self._drafts_of_seeds()
        self._take("refinements", "draft_id", self._ids("drafts", "draft_id"))
        self._take("qa", "qa_id", self._ids("refinements", "qa_id"))
        # `qa` names the seeds by their present ids, drafts by those of their day.
        made = self.rows.get("qa", []) + self.rows.get("drafts", [])
        seeds = [seed for row in made for seed in row["seed_ids"] or []]
        self._take("documents", "doc_id", sorted({*seeds, *self._ids("probe_results", "item_id")}))
        documents, questions = self._ids("documents", "doc_id"), self._ids("refinements", "qa_id")
        self._take("curation", "doc_id", documents)
        for table in ("annotations", "duplicates", "mixture"):
            self._take(table, "item_id", documents + questions)
        self._take(
            "llm_calls", "request_id", self._ids("drafts", "request_id") + self._ids("refinements", "request_id")
        )

    def _drafts_of_seeds(self) -> None:
        from pyspark.sql import functions as F

        # A draft belongs to a text: it finds its seed under any id.
        self._take("curation", "doc_id", self._ids("documents", "doc_id"))
        cleaned = [text_hash(row["clean_text"]) for row in self.rows.get("curation", []) if row["clean_text"]]
        texts = F.array(*[F.lit(text) for text in cleaned or self._ids("documents", "text_hash")])
        self._keep("drafts", self._tables.read("drafts").where(F.arrays_overlap("seed_hashes", texts)))

    def _ids(self, table: str, column: str) -> list[str]:
        return sorted({row[column] for row in self.rows.get(table, []) if row[column]})

    def _take(self, table: str, column: str, ids: list[str]) -> bool:
        from pyspark.sql import functions as F

        if table in self.rows:
            return True
        return bool(ids) and self._keep(table, self._tables.read(table).where(F.col(column).isin(ids)))

    def _keep(self, table: str, rows: DataFrame) -> bool:
        found = [row.asDict(recursive=True) for row in rows.limit(MAX_ROWS).collect()]
        if found:
            self.rows[table] = found
        return bool(found)
