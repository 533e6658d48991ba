# SPDX-License-Identifier: AGPL-3.0-or-later
"""The values of the database as lines of JSON, without loss and whichever database they come from."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    cast,
    column,
    insert,
    select,
    table,
)
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import TypeEngine

from inference_server.storage.rows import LARGEST_ID
from inference_server.storage.tables import UtcDateTime

REVISION_TABLE = "alembic_version"

type Plain = str | int | float | bool | None
"""A value as JSON has it."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How one kind of value is written and read, and the type with which it goes into a database."""

    kind: type[TypeEngine[Any]]
    stored: TypeEngine[Any]
    encode: Callable[[Any], Plain]
    decode: Callable[[Plain], Any]
    """Raises ValueError for what is no value of this kind."""


def _is(wanted: type) -> Callable[[Plain], Any]:
    def check(value: Plain) -> Any:
        if type(value) is not wanted:
            raise ValueError(f"{value!r:.40} is no {wanted.__name__}")
        return value

    return check


def _integer(value: Plain) -> int:
    if type(value) is not int or not -LARGEST_ID - 1 <= value <= LARGEST_ID:
        raise ValueError(f"{value!r:.40} is no whole number that a database holds")
    return value


def _number(value: Plain) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r:.40} is no number")  # noqa: TRY004 - as what is no whole number is
    return float(value)


def _text(value: Plain) -> str:
    text: str = _is(str)(value)
    text.encode()
    return text


def _moment(value: datetime) -> str:
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _time(value: Plain) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError(f"the time {value!r:.40} has no time zone")
    return moment


def _text_without_null(value: Plain) -> str:
    """Return a text that PostgreSQL holds: all but the character 0, which here only errors of programs quote."""
    return _text(value).replace("\0", "\ufffd")


def _json(value: Plain) -> str:
    text = _text(value)
    json.loads(text)
    return text


def _bytes(value: Plain) -> bytes:
    return base64.b64decode(_text(value), validate=True)


def _as_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _same(value: Any) -> Plain:
    plain: Plain = value
    return plain


_CODECS = (
    Codec(Boolean, Boolean(), bool, _is(bool)),
    Codec(DateTime, UtcDateTime(), _moment, _time),
    Codec(JSON, Text(), _same, _json),
    Codec(LargeBinary, LargeBinary(), _as_base64, _bytes),
    Codec(Integer, BigInteger(), _same, _integer),
    Codec(Float, Float(), _same, _number),
    Codec(String, Text(), _same, _text),
)
"""JSON is handled as the text that it is: parsed and written again, it might not be the same."""


def codec(kind: TypeEngine[Any]) -> Codec:
    """Return how values of a column type are written. Raises TypeError for one that nobody has thought of."""
    for known in _CODECS:
        if isinstance(kind, known.kind):
            return known
    raise TypeError(f"no backup holds values of the type {kind!r}")


def reflected(connection: Connection) -> MetaData:
    """Return the tables as they are in the database, whatever version of the program made them."""
    found = MetaData()
    found.reflect(connection)
    if REVISION_TABLE in found.tables:
        found.remove(found.tables[REVISION_TABLE])
    return found


def rows_of(source: Table) -> Select[Any]:
    """Return the query of all rows, in the order of their keys."""
    wanted = (cast(item, Text).label(item.name) if isinstance(item.type, JSON) else item for item in source.columns)
    return select(*wanted).order_by(*source.primary_key.columns)


def encoder(source: Table) -> Callable[[Any], dict[str, Plain]]:
    """Return a function from a row of `rows_of` to a JSON object."""
    encode = [(item.name, codec(item.type).encode) for item in source.columns]

    def plain(row: Any) -> dict[str, Plain]:
        return {name: None if value is None else write(value) for (name, write), value in zip(encode, row, strict=True)}

    return plain


def decoder(target: Table, dialect: str) -> Callable[[object], dict[str, Any]]:
    """Return a function from a JSON object to the parameters of `insertion`. It raises ValueError."""
    decode = {item.name: codec(item.type).decode for item in target.columns}
    if dialect == "postgresql":
        decode |= {item.name: _text_without_null for item in target.columns if codec(item.type).kind is String}

    def parameters(row: object) -> dict[str, Any]:
        if not isinstance(row, dict) or row.keys() != decode.keys():
            raise ValueError("it does not have the columns of its table")
        return {name: None if value is None else decode[name](value) for name, value in row.items()}

    return parameters


def insertion(target: Table, dialect: str) -> Insert:
    """Return the statement that adds a row."""

    def value(name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        given = bindparam(name, type_=codec(kind).stored)
        return cast(given, JSON) if isinstance(kind, JSON) and dialect == "postgresql" else given

    light = table(target.name, *(column(item.name) for item in target.columns))
    return insert(light).values({item.name: value(item.name, item.type) for item in target.columns})
