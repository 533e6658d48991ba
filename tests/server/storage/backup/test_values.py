# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values go through JSON without loss, and nothing else comes back."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import JSON, Boolean, DateTime, Float, Integer, Interval, LargeBinary, Text
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeDecorator, TypeEngine

from inference_server.storage.backup.values import codec, decoder, encoder, insertion, reflected, rows_of
from inference_server.storage.database import Database
from inference_server.storage.tables import metadata

BERLIN_IN_SUMMER = timezone(timedelta(hours=2))


@pytest.mark.parametrize("column", [column for table in metadata.sorted_tables for column in table.columns], ids=str)
def test_every_column_can_be_saved(column: Any) -> None:
    stored = column.type.dialect_impl(sqlite.dialect())
    codec(stored.impl_instance if isinstance(stored, TypeDecorator) else stored)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Integer(), st.integers(-(2**63), 2**63 - 1)),
        (Float(), st.floats(allow_nan=False)),
        (Text(), st.text(st.characters(exclude_categories=["Cs"]))),
        (Boolean(), st.booleans()),
        (DateTime(), st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(fold=0))),
        (LargeBinary(), st.binary()),
        (JSON(), st.just('{"a": [1, 1e400, null]}')),
    ],
    ids=repr,
)
def test_what_is_written_comes_back(kind: TypeEngine[Any], values: st.SearchStrategy[Any]) -> None:
    @given(values)
    def check(value: Any) -> None:
        line = json.dumps(codec(kind).encode(value), ensure_ascii=False)
        back = codec(kind).decode(json.loads(line))
        assert (type(back), repr(back)) == (type(value), repr(value))

    check()


def test_times_are_written_in_utc() -> None:
    time = codec(DateTime())
    assert time.encode(datetime(2026, 7, 1, 12, tzinfo=BERLIN_IN_SUMMER)) == "2026-07-01T10:00:00+00:00"
    assert time.encode(datetime(2026, 7, 1, 12)) == "2026-07-01T12:00:00+00:00"  # noqa: DTZ001 - as SQLite gives it


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Integer(), "1"),
        (Integer(), True),
        (Integer(), 1.0),
        (Integer(), 2**63),
        (Float(), "1"),
        (Float(), False),
        (Text(), 1),
        (Text(), "\ud800"),
        (Boolean(), 1),
        (DateTime(), "2026-07-01T12:00:00"),
        (DateTime(), "yesterday"),
        (DateTime(), 1),
        (LargeBinary(), "&"),
        (JSON(), "{"),
        (JSON(), {}),
    ],
)
def test_what_is_no_value_of_its_kind_is_refused(kind: TypeEngine[Any], wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        codec(kind).decode(wrong)


def test_a_kind_that_nobody_thought_of_stops_the_backup() -> None:
    with pytest.raises(TypeError, match="no backup holds values of the type"):
        codec(Interval())


async def test_a_table_of_another_time_keeps_every_stored_value(tmp_path: Path) -> None:
    made = "CREATE TABLE t (id INTEGER PRIMARY KEY, j JSON, b BLOB, n FLOAT, w VARCHAR(3), d DATETIME, o BOOLEAN)"
    rows = [
        (1, "null", b"\x00\xff", 1.0, "a\nb", "2026-07-01 12:00:00.000001", 1),
        (2, None, None, None, None, None, None),
        (3, '{"z": 1, "a": 10000000000000000000000}', b"", float("inf"), "", "2026-07-01 12:00:00.000000", 0),
        (4, "[1e2]", b"'", -0.0, "ü", "1969-12-31 23:59:59.999999", 0),
    ]
    for name in ("from", "to"):
        with closing(sqlite3.connect(tmp_path / name)) as connection, connection:
            connection.execute(made)
            if name == "from":
                connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    source, target = Database(tmp_path / "from"), Database(tmp_path / "to")
    async with source.reading() as reader, target.writing() as writer:
        table = (await reader.run_sync(reflected)).tables["t"]
        lines = [json.dumps(encoder(table)(row)) for row in await reader.execute(rows_of(table))]
        parsed = [decoder(table, "sqlite")(json.loads(line)) for line in lines]
        await writer.execute(insertion(table, "sqlite"), parsed)
    await source.close()
    await target.close()
    with closing(sqlite3.connect(tmp_path / "to")) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == rows
