"""The tables' contract: keys, types and comments that Spark takes, and one owner that really writes the table."""

from __future__ import annotations

import re

import pytest

from etl.pipeline import ORDER
from etl.schemas import TABLES, Table

# These are written beside the steps, by what runs and serves them.
OTHER_OWNERS = {"steps": "pipeline", "llm_calls": "ledger"}
SCALAR = "string|bigint|int|double|boolean|timestamp"
TYPE = re.compile(rf"{SCALAR}|binary|array<string>|array<bigint>|array<struct<[a-z_:<>,]+>>|map<string,(?:{SCALAR})>")


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_key_is_made_of_different_columns_that_rows_can_be_grouped_by(table: Table) -> None:
    assert table.key
    assert len(set(table.key)) == len(table.key)
    assert all(re.fullmatch(SCALAR, table.columns[name][0]) for name in table.key)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_column_has_a_known_type_and_says_what_it_is(table: Table) -> None:
    for name, (kind, comment) in table.columns.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert TYPE.fullmatch(kind), f"{name} is {kind}"
        assert comment.strip(), name
        assert not re.search(r"['\\\n]", comment), f"{name}: its comment ends the SQL string"


def test_the_ddl_quotes_names_and_keeps_the_order() -> None:
    table = Table("nobody", ("offset",), "", {"offset": ("bigint", "the first one"), "a": ("map<string,int>", "b")})
    assert table.ddl() == "`offset` bigint COMMENT 'the first one', `a` map<string,int> COMMENT 'b'"


def test_the_owner_of_a_table_is_a_step_that_says_it_writes_it() -> None:
    writers = {(step.name, name) for step in ORDER for name in step.writes}
    owners = {(table.owner, name) for name, table in TABLES.items() if name not in OTHER_OWNERS}
    assert owners <= writers
    assert {name: TABLES[name].owner for name in OTHER_OWNERS} == OTHER_OWNERS


def test_steps_read_and_write_only_tables_that_are_declared() -> None:
    named = {name for step in ORDER for name in (*step.reads, *step.writes)}
    assert named <= set(TABLES)


def test_no_step_reads_a_table_before_one_has_written_it() -> None:
    there: set[str] = set()
    for step in ORDER:
        assert set(step.reads) <= there, step.name
        there |= set(step.writes)
