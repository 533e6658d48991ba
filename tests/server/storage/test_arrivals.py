# SPDX-License-Identifier: AGPL-3.0-or-later
"""What became of the files that arrived."""

from dataclasses import replace
from datetime import timedelta

from inference_server.core.frame import Refusal, RefusalReason
from inference_server.storage import arrivals
from inference_server.storage.arrivals import Arrival, FileVersion
from tests.support.home import START, Home

FILE = FileVersion("front_door/1.jpg", 100, 1_000)


async def _record(home: Home, *items: Arrival) -> None:
    async with home.database.writing() as connection:
        await arrivals.record(connection, items)


async def _unseen(home: Home, *files: FileVersion) -> list[FileVersion]:
    async with home.database.reading() as connection:
        return await arrivals.unseen(connection, files)


def _refused(file: FileVersion, minutes: int = 0) -> Arrival:
    at = START + timedelta(minutes=minutes)
    return Arrival(file, at, "front_door", refusal=Refusal(file.path, "front_door", RefusalReason.CORRUPT, "Cut.", at))


async def test_a_file_is_unseen_until_it_is_recorded(a_home: Home) -> None:
    assert await _unseen(a_home, FILE) == [FILE]
    await _record(a_home, _refused(FILE))
    assert await _unseen(a_home, FILE) == []


async def test_a_file_that_changed_is_unseen_again(a_home: Home) -> None:
    await _record(a_home, _refused(FILE))
    grown, touched = replace(FILE, size=101), replace(FILE, modified_ns=1_001)
    assert await _unseen(a_home, grown, touched, FILE) == [grown, touched]
    await _record(a_home, _refused(grown))
    assert await _unseen(a_home, grown, FILE) == [FILE]


async def test_a_file_that_could_not_be_read_is_looked_at_again(a_home: Home) -> None:
    refusal = Refusal(FILE.path, "front_door", RefusalReason.UNREADABLE, "No permission.", START)
    await _record(a_home, Arrival(FILE, START, "front_door", refusal=refusal))
    assert await _unseen(a_home, FILE) == [FILE]


async def test_many_files_keep_their_order(a_home: Home) -> None:
    files = [FileVersion(f"front_door/{number}.jpg", 1, number) for number in range(1234)]
    await _record(a_home, *[_refused(file) for file in files[::2]])
    assert await _unseen(a_home, *files) == files[1::2]


async def test_refusals_are_listed_newest_first_page_by_page(a_home: Home) -> None:
    for number in range(5):
        await _record(a_home, _refused(replace(FILE, path=f"front_door/{number}.jpg"), minutes=number))
    paths: list[str] = []
    cursor = None
    while True:
        async with a_home.database.reading() as connection:
            page = await arrivals.refusals(connection, limit=2, cursor=cursor)
        paths += [refusal.path for refusal in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert paths == [f"front_door/{number}.jpg" for number in (4, 3, 2, 1, 0)]


async def test_a_refusal_comes_back_with_its_reason(a_home: Home) -> None:
    await _record(a_home, _refused(FILE))
    async with a_home.database.reading() as connection:
        page = await arrivals.refusals(connection, limit=2, cursor=None)
    assert page.items == (_refused(FILE).refusal,)


async def test_a_file_that_is_good_at_last_is_no_refusal_any_more(a_home: Home) -> None:
    await a_home.camera()
    frame_id = await a_home.frame()
    await _record(a_home, _refused(FILE))
    await _record(a_home, Arrival(replace(FILE, size=500), START, "front_door", frame_id))
    async with a_home.database.reading() as connection:
        assert (await arrivals.refusals(connection, limit=2, cursor=None)).items == ()


async def test_refusals_are_counted_within_the_period(a_home: Home) -> None:
    for minutes in (0, 30, 59):
        await _record(a_home, _refused(replace(FILE, path=f"front_door/{minutes}.jpg"), minutes))
    async with a_home.database.reading() as connection:
        count = await arrivals.refused_since(connection, START + timedelta(minutes=60), timedelta(minutes=45))
    assert count == 2
