# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rows of every table, whatever tables there are: made from the columns' types, keys and references alone."""

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from inference_server.storage.tables import UtcDateTime, metadata

FEW = settings(deadline=None, phases=[Phase.explicit, Phase.generate])
"""For tests that make databases: an example of theirs is not made smaller, which would take minutes."""

type Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows by table."""

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_numbers = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


_paths = st.from_regex(r"[a-z0-9_]{1,64}/[0-9a-f]{2}/[0-9a-f]{8,64}\.(jpg|png|mp4)", fullmatch=True)
_by_type: Sequence[tuple[type[TypeEngine[Any]], st.SearchStrategy[Any]]] = (
    (Boolean, st.booleans()),
    (UtcDateTime, _times),
    (JSON, _json),
    (LargeBinary, st.binary(max_size=20)),
    (BigInteger, st.integers(-(2**63), 2**63 - 1)),
    (Integer, st.integers(-(2**31), 2**31 - 1)),
    (Float, _numbers),
    (String, _texts),
)


def _values(column: Column[Any]) -> st.SearchStrategy[Any]:
    if column.name == "media_path":
        return _paths
    if column.name == "last":  # a counter, which a restore puts forward
        return st.integers(0, 2**40)
    if column.primary_key and isinstance(column.type, Integer):
        return st.integers(1, 2**31 - 1)
    length = getattr(column.type, "length", None)
    found = next(values for kind, values in _by_type if isinstance(column.type, kind))
    return found.map(lambda text: text[:length]) if length else found


@st.composite
def all_tables(draw: st.DrawFn, most: int = 3) -> dict[str, list[dict[str, Any]]]:
    """Draw at least one row of every table that fits together with all others."""
    made: dict[str, list[dict[str, Any]]] = {}
    for table in metadata.sorted_tables:
        rows = draw(st.lists(_row(table, made), min_size=1, max_size=most))
        made[table.name] = list(_without_conflicts(table, rows))
    return made


def _row(table: Table, made: Mapping[str, list[dict[str, Any]]]) -> st.SearchStrategy[dict[str, Any]]:
    columns = {}
    for column in table.columns:
        reference = next(iter(column.foreign_keys), None)
        values = (
            st.sampled_from([row[reference.column.name] for row in made[reference.column.table.name]])
            if reference
            else _values(column)
        )
        columns[column.name] = values | st.none() if column.nullable else values
    return st.fixed_dictionaries(columns)


def _without_conflicts(table: Table, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    keys = [
        [column.name for column in item.columns] for item in table.constraints if isinstance(item, UniqueConstraint)
    ]
    keys += [[column.name for column in index.columns] for index in table.indexes if index.unique]
    keys.append([column.name for column in table.primary_key])
    taken: set[tuple[Any, ...]] = set()
    for row in rows:
        mine = {(*key, *(row[name] for name in key)) for key in keys}
        if not mine & taken:
            taken |= mine
            yield row


async def insert(connection: AsyncConnection, rows: Rows) -> None:
    """Put rows into empty tables."""
    for table in reversed(metadata.sorted_tables):
        await connection.execute(table.delete())
    for table in metadata.sorted_tables:
        await connection.execute(table.insert(), list(rows[table.name]))


def stored(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return what an SQLite file holds, as it is stored, by table."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: sorted(
                (tuple(map(_exact, row)) for row in connection.execute(f'SELECT * FROM "{name}"')),  # noqa: S608
                key=repr,
            )
            for name in names
            if name != "sqlite_sequence"
        }


def _exact(value: Any) -> Any:
    return (type(value).__name__, math.copysign(1, value), value) if isinstance(value, float) else value
