# SPDX-License-Identifier: AGPL-3.0-or-later
"""Databases of released versions, with data in them, come up to date and keep everything."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, MetaData, text

from inference_server.storage import announcements, cameras, events, frames
from inference_server.storage.database import Database, migration_config
from tests.support.services import PostgreSql

AT = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
ROWS: dict[str, list[dict[str, Any]]] = {
    "identity": [{"server_id": "0" * 32, "created_at": AT}],
    "cameras": [{"id": "door", "name": "Door", "created_at": AT, "last_frame_id": 1, "last_event_id": 1}],
    "frames": [
        {
            "camera_id": "door",
            "content_hash": f"{number:064}",
            "media_path": f"door/00/{number:064}.jpg",
            "captured_at": AT,
            "arrived_at": AT,
            "width": 640,
            "height": 480,
        }
        for number in (1, 2)
    ],
    "arrivals": [
        {"path": "door/1.jpg", "size": 9, "modified_ns": 9, "arrived_at": AT, "camera_id": "door", "frame_id": 1},
        {"path": "door/x.jpg", "size": 9, "modified_ns": 9, "arrived_at": AT, "refusal_reason": "corrupt"},
    ],
    "events": [
        {
            "camera_id": "door",
            "started_at": AT,
            "last_detection_at": AT,
            "frame_count": 1,
            "best_frame_id": 1,
            "best_confidence": 0.9,
            "tracks": [],
            "score": 20,
            "assessment_id": 1,
        }
    ],
    "assessments": [
        {
            "event_id": 1,
            "score": 20,
            "summary": "A person",
            "reasoning": "Rules.",
            "factors": [],
            "source": "rules",
            "verified": False,
            "assessed_at": AT,
        }
    ],
    "detections": [
        {
            "frame_id": 1,
            "ordinal": 0,
            "event_id": 1,
            "label": "person",
            "confidence": 0.9,
            "x": 1.0,
            "y": 1.0,
            "width": 9.0,
            "height": 9.0,
        }
    ],
    "messages": [
        {
            "stage": "detect",
            "subject_id": 2,
            "camera_id": "door",
            "available_at": AT,
            "enqueued_at": AT,
            "attempts": 1,
            "leased_until": AT,
        }
    ],
    "dead_letters": [
        {
            "stage": "gather",
            "subject_id": 7,
            "camera_id": "door",
            "reason": "broken",
            "attempts": 6,
            "enqueued_at": AT,
            "died_at": AT,
        }
    ],
    "announcements": [
        {"sequence": number, "body": {"kind": "camera_removed", "camera_id": "x", "at": AT.isoformat()}}
        for number in (41, 42)
    ],
    "tokens": [{"name": "a", "digest": "d", "scope": "read", "created_at": AT}],
}
"""Some of everything that version 0.1.0 wrote."""


def _revisions() -> list[str]:
    scripts = ScriptDirectory.from_config(migration_config()).walk_revisions()
    return [script.revision for script in scripts if script.revision == "0001"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Give a database without tables."""
    where: Path | URL = tmp_path / "hsi.db"
    if request.param == "postgresql":
        server: PostgreSql = request.getfixturevalue("postgresql")
        where = server.database()
    database = Database(where)
    yield database
    await database.close()


def _fill(connection: Connection, revision: str) -> None:
    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    tables = MetaData()
    tables.reflect(connection)
    for name, rows in ROWS.items():
        for row in rows:
            connection.execute(tables.tables[name].insert(), row)


@pytest.mark.parametrize("revision", _revisions())
async def test_a_database_of_a_released_version_keeps_everything(empty: Database, revision: str) -> None:
    async with empty.writing() as connection:
        await connection.run_sync(_fill, revision)
    await empty.open()
    async with empty.reading() as connection:
        for name, rows in ROWS.items():
            assert (await connection.execute(text(f"SELECT count(*) FROM {name}"))).scalar_one() == len(rows)  # noqa: S608
        assert await announcements.last_sequence(connection) == 42
        state = await cameras.state(connection, "door", judged=True)
        assert state is not None
        assert (state.score, state.open_event_id) == (20, 1)
        assert (await events.open_events(connection))[0].assessment.summary == "A person"
        frame = await frames.get(connection, 2)
        assert frame is not None
        assert frame.captured_at == AT
        assert len(await frames.sightings_of_event(connection, 1)) == 1
        if empty.file:
            assert (await connection.execute(text("PRAGMA foreign_key_check"))).all() == []


async def test_no_reference_is_lost_on_the_way(empty: Database) -> None:
    await empty.open()
    async with empty.reading() as connection:
        reflected = MetaData()
        await connection.run_sync(reflected.reflect)
    references = {
        (table.name, key.column.table.name) for table in reflected.tables.values() for key in table.foreign_keys
    }
    assert {("frames", "clips"), ("arrivals", "clips"), ("clips", "cameras"), ("detections", "frames")} <= references
