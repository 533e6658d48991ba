# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions of prompts in the database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from inference_server.core.prompt import PromptKind, PromptVersion
from inference_server.storage import prompts
from inference_server.storage.database import Database
from inference_server.storage.prompts import NewPrompt, Removal, TooManyVersionsError
from tests.support.home import START

ANALYST, SUMMARY = PromptKind


@pytest.fixture
async def database(where: URL | None, tmp_path: Path) -> AsyncIterator[Database]:
    """Give an empty database of either kind."""
    made = Database(where or tmp_path / "hsi.db")
    await made.open()
    yield made
    await made.close()


def _shipped(text: str, kind: PromptKind = ANALYST) -> NewPrompt:
    return NewPrompt(kind=kind, name="Standard", text=text, shipped=True)


def _own(text: str = "own") -> NewPrompt:
    return NewPrompt(kind=ANALYST, name="Mine", text=text, note="why", created_by="Owner")


async def _seed(database: Database, *shipped: NewPrompt) -> None:
    async with database.writing() as connection:
        await prompts.seed(connection, shipped, START)


async def _add(database: Database, new: NewPrompt) -> PromptVersion:
    async with database.writing() as connection:
        return await prompts.add(connection, new, START)


async def _activate(database: Database, number: int) -> PromptVersion | None:
    async with database.writing() as connection:
        return await prompts.activate(connection, ANALYST, number, START)


async def _active(database: Database, kind: PromptKind = ANALYST) -> int | None:
    async with database.reading() as connection:
        version = await prompts.active(connection, kind)
    return version.number if version else None


async def test_what_is_shipped_is_there_once_and_in_use(database: Database) -> None:
    assert await _active(database) is None
    for _ in range(2):
        await _seed(database, _shipped("one"), _shipped("other", SUMMARY))
    async with database.reading() as connection:
        (version,) = await prompts.of_kind(connection, ANALYST)
        assert (version.number, version.text, version.shipped, version.active) == (1, "one", True, True)
        assert (version.activated_at, version.created_by) == (START, None)
        assert len(await prompts.of_kind(connection, SUMMARY)) == 1


async def test_a_new_shipped_version_takes_over_unless_the_owner_chose(database: Database) -> None:
    await _seed(database, _shipped("one"))
    await _seed(database, _shipped("one"), _shipped("two"))
    assert await _active(database) == 2
    own = await _add(database, _own())
    assert (own.number, own.active, own.activated_at) == (3, False, None)
    assert await _active(database) == 2
    await _activate(database, 3)
    await _seed(database, _shipped("one"), _shipped("two"), _shipped("three"))
    assert await _active(database) == 3
    async with database.reading() as connection:
        assert [version.number for version in await prompts.of_kind(connection, ANALYST)] == [4, 3, 2, 1]


async def test_a_shipped_version_that_the_owner_chose_stays(database: Database) -> None:
    await _seed(database, _shipped("one"), _shipped("two"))
    assert await _activate(database, 1) is not None
    await _seed(database, _shipped("one"), _shipped("two"), _shipped("three"))
    assert await _active(database) == 1
    assert await _activate(database, 9) is None
    assert await _active(database) == 1


async def test_only_what_was_never_in_use_can_be_removed(database: Database) -> None:
    await _seed(database, _shipped("one"), _shipped("two"))
    for text in ("a", "b"):
        await _add(database, _own(text))
    await _activate(database, 3)
    await _activate(database, 2)
    async with database.writing() as connection:
        removed = [await prompts.remove(connection, ANALYST, number) for number in (1, 2, 3, 4, 4)]
    assert removed == [Removal.IN_USE, Removal.IN_USE, Removal.IN_USE, Removal.REMOVED, Removal.NOT_FOUND]


async def test_whoever_seeds_and_activates_at_once_leaves_one_version_active(database: Database) -> None:
    await asyncio.gather(*(_seed(database, _shipped("one"), _shipped("two")) for _ in range(4)))
    await asyncio.gather(*(_add(database, _own(str(number))) for number in range(4)))
    await asyncio.gather(*(_activate(database, number) for number in (3, 4, 5, 6, 3, 4)))
    async with database.reading() as connection:
        versions = await prompts.of_kind(connection, ANALYST)
    assert [version.number for version in versions] == [6, 5, 4, 3, 2, 1]
    assert sum(version.active for version in versions) == 1


async def test_there_are_at_most_so_many_versions(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MOST_VERSIONS", 1)
    await _add(database, _own())
    with pytest.raises(TooManyVersionsError):
        await _add(database, _own())
