# SPDX-License-Identifier: Apache-2.0
"""Strict reading of JSON at the edge: what is missing or of the wrong type is named by its path."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Self

from .errors import ProtocolError


class Fields:
    """Typed access to one JSON object."""

    __slots__ = ("_path", "_values")

    def __init__(self, value: object, path: str) -> None:
        """Take a decoded JSON value that has to be an object."""
        if not isinstance(value, Mapping):
            raise ProtocolError(f"{path} is not an object")
        self._values: Mapping[str, object] = value
        self._path = path

    def text(self, name: str) -> str:
        """Read a string."""
        return self._typed(name, str)

    def text_or_none(self, name: str) -> str | None:
        """Read a string that may be null."""
        return None if self._get(name) is None else self.text(name)

    def flag(self, name: str) -> bool:
        """Read a boolean."""
        return self._typed(name, bool)

    def integer(self, name: str) -> int:
        """Read a whole number."""
        value = self._typed(name, int)
        if isinstance(value, bool):
            raise self._wrong(name, "int")
        return value

    def number(self, name: str) -> float:
        """Read a number."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "number")
        return float(value)

    def integer_or_none(self, name: str) -> int | None:
        """Read a whole number that may be null."""
        return None if self._get(name) is None else self.integer(name)

    def time(self, name: str) -> datetime:
        """Read a time with an offset."""
        try:
            value = datetime.fromisoformat(self.text(name))
        except ValueError as err:
            raise self._wrong(name, "time") from err
        if value.tzinfo is None:
            raise self._wrong(name, "time with an offset")
        return value

    def time_or_none(self, name: str) -> datetime | None:
        """Read a time that may be null."""
        return None if self._get(name) is None else self.time(name)

    def choice[T: StrEnum](self, name: str, choices: type[T]) -> T | None:
        """Read one of the choices, or None for one that a newer server invented."""
        value = self.text(name)
        return choices(value) if value in choices else None

    def nested(self, name: str) -> Self:
        """Read an object."""
        return type(self)(self._get(name), f"{self._path}.{name}")

    def nested_or_none(self, name: str) -> Self | None:
        """Read an object that may be null."""
        return None if self._get(name) is None else self.nested(name)

    def objects[T](self, name: str, parse: Callable[[Fields], T]) -> tuple[T, ...]:
        """Read a list of objects."""
        items = self._typed(name, list)
        return tuple(parse(Fields(item, f"{self._path}.{name}[{index}]")) for index, item in enumerate(items))

    def newer_objects[T](self, name: str, parse: Callable[[Fields], T]) -> tuple[T, ...]:
        """Read a list of objects that older servers of the same schema do not send; none then."""
        return self.objects(name, parse) if name in self._values else ()

    def newer_objects_or_none[T](self, name: str, parse: Callable[[Fields], T]) -> tuple[T, ...] | None:
        """Read a list of objects that older servers of the same schema know nothing of; None then."""
        return self.objects(name, parse) if name in self._values else None

    def newer_integer_or_none(self, name: str) -> int | None:
        """Read a whole number that may be null, and that older servers of the same schema do not send."""
        return self.integer_or_none(name) if name in self._values else None

    def integers(self, name: str) -> tuple[int, ...]:
        """Read a list of whole numbers."""
        items = self._typed(name, list)
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            raise self._wrong(name, "list of int")
        return tuple(items)

    def texts(self, name: str) -> tuple[str, ...]:
        """Read a list of strings."""
        items = self._typed(name, list)
        if not all(isinstance(item, str) for item in items):
            raise self._wrong(name, "list of str")
        return tuple(items)

    def counts(self, name: str) -> dict[str, int]:
        """Read an object whose values are whole numbers."""
        return self.nested(name).all_integers()

    def all_integers(self) -> dict[str, int]:
        """Read every value as a whole number."""
        return {name: self.integer(name) for name in self._values}

    def _get(self, name: str) -> object:
        if name not in self._values:
            raise ProtocolError(f"{self._path}.{name} is missing")
        return self._values[name]

    def _typed[T](self, name: str, kind: type[T]) -> T:
        value = self._get(name)
        if not isinstance(value, kind):
            raise self._wrong(name, kind.__name__)
        return value

    def _wrong(self, name: str, expected: str) -> ProtocolError:
        return ProtocolError(f"{self._path}.{name} is not a {expected}")
