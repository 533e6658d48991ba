# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files as real cameras lay them out and upload them, by inotify and by polling."""

import os
import unicodedata

import pytest

from tests.support.pictures import jpeg
from tests.support.watched import Watched

LAYOUTS = {
    "foscam": ("FI9900P_00626EAABBCC/snap/", ["Schedule_20261123-154501.jpg", "MDAlarm_20261123-154502.jpg"]),
    "reolink": ("2026/11/23/", ["Front Door_00_20261123154501.jpg", "Front Door_00_20261123154502.jpg"]),
    "dahua": ("AMC0001_ABCDEF/2026-11-23/001/jpg/15/45/", ["01[M][0@0][0].jpg", "02[M][0@0][0].jpg"]),
    "hikvision, flat": ("", ["192.168.1.64_01_20261123154501123_MOTION_DETECTION.jpg", "second.jpg"]),
    "hikvision, by address": ("192.168.1.64_01/2026-11-23/", ["20261123154501.jpg", "20261123154502.jpg"]),
    "axis": ("axis-ACCC8E123456/20261123/15/", ["20261123_154501_ABCD.jpg", "20261123_154502_ABCD.jpg"]),
}
JUNK = {
    "dahua": (
        "AMC0001_ABCDEF/2026-11-23/001/dav/15/",
        ["15.45.00-15.45.20[M][0@0][0].dav", "15.45.00.idx", "15.45.00.dav_"],
    ),
    "foscam": ("FI9900P_00626EAABBCC/snap/", [".Schedule_20261123-154501.jpg.swp", "Schedule_20261123-154503.jpg.tmp"]),
}
TEMPORARY = (".tmp", ".part", ".partial", ".filepart", ".upload", "~", ".crdownload")
SCRIPTS = {
    "composed": unicodedata.normalize("NFC", "Einfahrt Süd é.jpg"),
    "decomposed": unicodedata.normalize("NFD", "Einfahrt Süd é.jpg"),
    "chinese": "前门_快照_001.jpg",
    "arabic, right to left": "الباب الأمامي.jpg",
    "override marks": "front\u202egpj.exe\u202c.jpg",
    "emoji": "🏠📷.jpg",
    "newline": "front\ndoor.jpg",
    "tab and quotes": "a\t'b' \"c\" $(d) `e`.jpg",
    "255 bytes": "ä" * 125 + "x.jpg",
    "leading dashes": "-rf --.jpg",
    "backslash": "C:\\front\\1.jpg",
    "percent": "%2e%2e%2f.jpg",
}


@pytest.mark.parametrize("vendor", LAYOUTS)
async def test_a_vendor_s_folders_count_from_their_first_file_on(either: Watched, vendor: str) -> None:
    folder, names = LAYOUTS[vendor]
    junk_folder, junk = JUNK.get(vendor, ("", []))
    wanted = [f"front/{folder}{name}" for name in names]
    async with either.running():
        for name in junk:
            either.write(f"front/{junk_folder}{name}", jpeg(99))
        for number, name in enumerate(wanted):
            either.write(name, jpeg(number))
            await either.intake.until_content(name, jpeg(number))
    assert set(either.intake.contents) == {"marker/0.jpg", *wanted}


async def test_at_midnight_all_cameras_begin_new_folders_and_nothing_is_lost(either: Watched) -> None:
    cameras = [f"camera {number}" for number in range(12)]
    before = [f"{camera}/2026/11/23/23/59.jpg" for camera in cameras]
    after = [
        f"{camera}/2026/11/24/{hour:02}/{minute:02}.jpg" for camera in cameras for hour in (0, 1) for minute in (0, 1)
    ]
    for number, name in enumerate(before):
        either.write(name, jpeg(number))
    async with either.running():
        await either.intake.until_taken(*before)
        for number, name in enumerate(after):
            either.write(name, jpeg(100 + number))
        await either.intake.until_taken(*after)
    assert set(either.intake.paths) == {"marker/0.jpg", *before, *after}


async def test_a_tree_that_grows_while_it_is_looked_into_loses_nothing(either: Watched) -> None:
    names = [f"front/{a}/{b}/{c}/{d}.jpg" for a in range(3) for b in range(3) for c in range(3) for d in range(3)]
    async with either.running():
        for number, name in enumerate(names):
            either.write(name, jpeg(number))
        await either.intake.until_taken(*names)


@pytest.mark.parametrize("ending", TEMPORARY)
async def test_an_upload_counts_under_its_final_name_alone(either: Watched, ending: str) -> None:
    async with either.running():
        upload = either.write(f"front/1.jpg{ending}", jpeg(1)[:300])
        upload.write_bytes(jpeg(1))
        upload.rename(either.root / "front" / "1.jpg")
        await either.intake.until_content("front/1.jpg", jpeg(1))
    assert set(either.intake.paths) == {"marker/0.jpg", "front/1.jpg"}


async def test_an_upload_that_pauses_is_refused_and_admitted_when_it_is_whole(either: Watched) -> None:
    async with either.running():
        with (either.root / "front" / "1.jpg").open("wb") as file:
            file.write(jpeg(1, size=(640, 480))[:2000])
            file.flush()
            await either.intake.until_taken("front/1.jpg")
            assert "front/1.jpg" not in either.intake.contents
            file.write(jpeg(1, size=(640, 480))[2000:])
        await either.intake.until_content("front/1.jpg", jpeg(1, size=(640, 480)))


async def test_after_a_reboot_a_camera_s_old_names_count_with_new_content(either: Watched) -> None:
    async with either.running():
        either.write("front/image0001.jpg", jpeg(1))
        await either.intake.until_content("front/image0001.jpg", jpeg(1))
        either.write("front/image0001.jpg", jpeg(2))
        await either.intake.until_content("front/image0001.jpg", jpeg(2))


@pytest.mark.parametrize("seconds", [0, 86400, 4e9, 2**33], ids=["1970", "1970-01-02", "2096", "2242"])
async def test_a_wrong_clock_neither_hides_a_file_nor_repeats_it(either: Watched, seconds: float) -> None:
    async with either.running():
        upload = either.write("front/upload", jpeg(1))
        os.utime(upload, (seconds, seconds))
        upload.rename(either.root / "front" / "1.jpg")
        await either.intake.until_content("front/1.jpg", jpeg(1))
        either.write("front/2.jpg", jpeg(2))
        await either.intake.until_taken("front/2.jpg")
    assert either.intake.paths.count("front/1.jpg") == 1


@pytest.mark.parametrize("name", SCRIPTS.values(), ids=SCRIPTS.keys())
async def test_a_name_in_any_script_counts(either: Watched, name: str) -> None:
    async with either.running():
        either.write(f"front/{name}", jpeg(1))
        await either.intake.until_content(f"front/{name}", jpeg(1))


async def test_a_name_of_any_bytes_counts(either: Watched) -> None:
    async with either.running():
        either.write(os.fsdecode(b"front/\xff\xfe/\xe9\x80.jpg"), jpeg(1))
        await either.intake.until_content("front/\\xff\\xfe/\\xe9\\x80.jpg", jpeg(1))


async def test_what_is_no_file_holds_nothing_up(either: Watched) -> None:
    os.mkfifo(either.root / "front" / "before.jpg")
    (either.root / "front" / "loop").symlink_to(either.root)
    (either.root / "front" / "dangling.jpg").symlink_to(either.root / "nowhere")
    (either.root / "front" / "outside.jpg").symlink_to("/etc/passwd")
    async with either.running():
        os.mkfifo(either.root / "front" / "after.jpg")
        either.write("front/1.jpg", jpeg(1))
        await either.intake.until_content("front/1.jpg", jpeg(1))
    assert set(either.intake.contents) == {"marker/0.jpg", "front/1.jpg"}
