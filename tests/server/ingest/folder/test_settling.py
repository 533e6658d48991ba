# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files count after two looks that found the same, at times of the test's own."""

import asyncio
from pathlib import Path

from inference_server.ingest.folder.line import Line
from inference_server.ingest.folder.settling import AT_ONCE, Settling
from inference_server.ingest.folder.sighting import look_at


def test_a_file_waits_for_its_next_look() -> None:
    settling = Settling()
    settling.add("a", (1, 1, 1), due=2.0)
    settling.add("b", None, due=1.0)
    assert settling.take_due(0.5) == {}
    assert settling.take_due(1.0) == {"b": None}
    assert "a" in settling
    assert settling.take_due(5.0) == {"a": (1, 1, 1)}
    assert len(settling) == 0


def test_a_file_that_was_seen_to_change_waits_anew() -> None:
    settling = Settling()
    settling.add("a", (1, 1, 1), due=1.0)
    settling.add("a", (2, 2, 2), due=2.0)
    assert settling.take_due(1.5) == {}
    assert settling.take_due(2.0) == {"a": (2, 2, 2)}


def test_a_file_whose_closing_was_seen_waits_no_longer() -> None:
    settling = Settling()
    settling.add("a", (1, 1, 1), due=1.0)
    settling.discard("a")
    settling.discard("b")
    assert settling.take_due(2.0) == {}


async def test_an_earlier_look_wakes_who_waits_for_a_later_one() -> None:
    settling = Settling()
    settling.add("late", None, due=3600.0)
    waiting = asyncio.create_task(settling.until_due(0.0))
    await asyncio.sleep(0)
    settling.add("soon", None, due=0.0)
    await asyncio.wait_for(waiting, 5)
    assert settling.take_due(0.0) == {"soon": None}


def test_many_files_are_looked_at_in_portions() -> None:
    settling = Settling()
    for number in range(AT_ONCE + 1):
        settling.add(str(number), None, due=1.0)
    assert len(settling.take_due(1.0)) == AT_ONCE
    assert len(settling.take_due(1.0)) == 1


def test_a_look_finds_what_changes_and_leaves_out_what_is_gone(tmp_path: Path) -> None:
    here, gone = tmp_path / "1.jpg", tmp_path / "2.jpg"
    here.write_text("a")
    (before,) = look_at([str(here), str(gone)], name_of=lambda path: path)
    assert look_at([str(here)], name_of=lambda path: path) == [before]
    with here.open("a") as file:
        file.write("b")
    (after,) = look_at([str(here)], name_of=lambda path: path)
    assert after.path == before.path
    assert after.version != before.version


async def test_the_line_keeps_each_path_once_in_its_order() -> None:
    line = Line()
    filled = asyncio.create_task(line.until_filled())
    for path in ("b", "a", "b", "c"):
        line.add(path)
    await asyncio.wait_for(filled, 5)
    emptied = asyncio.create_task(line.until_empty())
    assert line.take(2) == ["b", "a"]
    assert ("c" in line, "a" in line, len(line)) == (True, False, 1)
    assert line.take(2) == ["c"]
    await asyncio.wait_for(emptied, 5)
