# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which file systems tell about new files, by the mount tables of real machines."""

from pathlib import Path

import pytest

from inference_server.ingest.folder.mounts import Mount, read_mounts, why_silent
from inference_server.ingest.folder.places import places_of
from inference_server.settings import WatchMode

LOCAL = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard"
CAMERAS = {
    "nfs": "90 27 0:50 / /cams rw,relatime shared:1 - nfs4 nas:/cams rw,vers=4.2,addr=192.168.1.5",
    "smb": "90 27 0:50 / /cams rw,relatime - cifs //nas/cams rw,vers=3.1.1",
    "sshfs": "90 27 0:50 / /cams rw,nosuid - fuse.sshfs nas:/cams rw,user_id=0",
    "unraid": "90 27 0:50 /cams /cams rw - fuse.shfs shfs rw,user_id=0",
    "docker desktop, mac": "90 27 0:50 / /cams rw,relatime - fakeowner /run/host_mark/Users rw,fakeowner",
    "docker desktop, virtiofs": "90 27 0:50 / /cams rw,relatime - virtiofs virtiofs0 rw",
    "wsl": "90 27 0:50 / /cams rw,noatime - 9p drvfs rw,aname=drvfs;path=C:;uid=0",
    "something new": "90 27 0:50 / /cams rw - wonderfs none rw",
    "automounter": "90 27 0:50 / /cams rw - autofs systemd-1 rw,fd=55",
}


def _table(folder: Path, *lines: str) -> Path:
    table = folder / "mountinfo"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.mark.parametrize("line", CAMERAS.values(), ids=CAMERAS.keys())
def test_what_others_write_to_is_polled(tmp_path: Path, line: str) -> None:
    mounts = read_mounts(_table(tmp_path, LOCAL, line))
    assert why_silent("/cams", mounts) is not None
    assert why_silent("/cams/front/2026", mounts) is not None
    assert why_silent("/cams2", mounts) is None
    assert why_silent("/var/cams", mounts) is None


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs", "zfs", "tmpfs", "exfat", "fuseblk", "ntfs3"])
def test_what_only_this_machine_writes_to_is_told_about(tmp_path: Path, kind: str) -> None:
    mounts = read_mounts(_table(tmp_path, LOCAL, f"90 27 8:1 / /cams rw - {kind} /dev/sda1 rw"))
    assert why_silent("/cams/front", mounts) is None


def test_an_overlay_is_as_silent_as_what_it_lies_over(tmp_path: Path) -> None:
    local = "27 1 0:30 / / rw - overlay overlay rw,lowerdir=/var/lib/a:/var/lib/b,upperdir=/var/lib/c,workdir=/w"
    over = "91 27 0:51 / /cams rw - overlay overlay rw,lowerdir=/local:/mnt/nas/lower,upperdir=/up,workdir=/w"
    nas = "90 27 0:50 / /mnt/nas rw - nfs nas:/ rw"
    mounts = read_mounts(_table(tmp_path, local, nas, over))
    assert why_silent("/elsewhere", mounts) is None
    assert "nfs" in (why_silent("/cams/front", mounts) or "")


def test_of_mounts_on_one_point_the_last_one_counts(tmp_path: Path) -> None:
    mounts = read_mounts(_table(tmp_path, LOCAL, CAMERAS["automounter"], CAMERAS["nfs"]))
    assert "nfs4" in (why_silent("/cams", mounts) or "")


def test_names_with_spaces_are_read(tmp_path: Path) -> None:
    mounts = read_mounts(
        _table(tmp_path, r"90 27 0:50 / /my\040cams\134ö rw master:2 - nfs nas:/a\040b rw", "nonsense")
    )
    assert mounts == (Mount("/my cams\\ö", "nfs"),)


def test_a_system_without_a_mount_table_is_polled(tmp_path: Path) -> None:
    assert why_silent("/cams", read_mounts(tmp_path / "missing")) is not None


def test_this_machine_has_a_mount_table() -> None:
    assert "/" in {mount.point for mount in read_mounts()}


def test_each_file_system_below_a_root_is_a_place_of_its_own(tmp_path: Path) -> None:
    below = (
        "91 27 0:51 / /cams/garage rw - nfs4 nas:/garage rw",
        "92 27 8:2 / /cams/yard/disk rw - ext4 /dev/sdb rw",
        "93 27 0:52 / /cams/.snapshots rw - nfs4 nas:/snap rw",
        "94 27 0:53 / /camshaft rw - nfs4 nas:/shaft rw",
    )
    mounts = read_mounts(_table(tmp_path, LOCAL, *below))
    root, garage, disk = places_of("/cams", WatchMode.AUTO, mounts)
    assert (root.path, root.polled) == ("/cams", False)
    assert (garage.path, garage.polled) == ("/cams/garage", True)
    assert "nfs4" in garage.why
    assert (disk.path, disk.polled) == ("/cams/yard/disk", False)


@pytest.mark.parametrize(("mode", "polled"), [(WatchMode.INOTIFY, False), (WatchMode.POLLING, True)])
def test_what_is_set_wins_over_what_is_detected(tmp_path: Path, mode: WatchMode, polled: bool) -> None:
    mounts = read_mounts(_table(tmp_path, LOCAL, CAMERAS["nfs"]))
    assert [place.polled for place in places_of("/cams", mode, mounts)] == [polled]
    assert [place.polled for place in places_of("/home", mode, mounts)] == [polled]
