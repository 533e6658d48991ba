# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate: what becomes of one file below the watch root."""

import io
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from PIL import Image

from inference_server.core.camera import CameraSettings, Mask
from inference_server.core.frame import FrameSource, RefusalReason, TimeSource
from inference_server.core.message import Priority
from inference_server.ingest.admission import Admission, AdmittedFile, Outcome, RefusedFile
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.ingest.picture import examine
from inference_server.settings import IngestSettings
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.media import MediaFolder
from tests.support.home import MovableClock
from tests.support.pictures import TINY_ALLOWED, encoded, jpeg, noise, png
from tests.support.privileges import public_folder, unprivileged

LEFT_HALF = Mask(((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass
class Gate:
    """Admission over a root, with the pictures that it stores."""

    root: Path
    media: MediaFolder
    clock: MovableClock
    limits: IngestSettings = TINY_ALLOWED
    cameras: KnownCameras = field(default_factory=lambda: KnownCameras(ZoneInfo("Europe/Berlin")))
    source: FrameSource = FrameSource.FOLDER

    def admit(self, path: Path) -> Outcome | None:
        """Return what becomes of a file."""
        return Admission(self.root, self.media, self.limits, self.clock, self.cameras).admit(path, self.source)

    def write(self, name: str | bytes, content: bytes = b"") -> Path:
        """Write a file below the root."""
        path = self.root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or jpeg())
        return path

    def admitted(self, path: Path) -> AdmittedFile:
        """Return the outcome for a file that has to be admitted."""
        outcome = self.admit(path)
        assert isinstance(outcome, AdmittedFile), outcome
        return outcome

    def refused(self, path: Path) -> RefusedFile:
        """Return the outcome for a file that has to be refused, of which nothing may be stored."""
        outcome = self.admit(path)
        assert isinstance(outcome, RefusedFile), outcome
        assert not self.media.root.exists()
        return outcome


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Give a gate before an empty root."""
    root = tmp_path / "cameras"
    root.mkdir()
    return Gate(root, MediaFolder(tmp_path / "media"), MovableClock(LATER))


def test_a_picture_in_a_camera_folder_is_stored_and_admitted(gate: Gate) -> None:
    path = gate.write("Front Door/2026/11/23/1.jpg")
    outcome = gate.admitted(path)
    assert (outcome.folder, outcome.camera_id) == ("Front Door", "front_door")
    assert outcome.file == FileVersion("Front Door/2026/11/23/1.jpg", path.stat().st_size, path.stat().st_mtime_ns)
    assert gate.media.read(outcome.media_path) == jpeg()
    assert path.read_bytes() == jpeg()


def test_the_type_is_that_of_the_content_and_not_of_the_name(gate: Gate) -> None:
    assert gate.admitted(gate.write("front/1.jpg", png())).media_path.endswith(".png")


def test_a_picture_arrived_when_its_file_was_closed_or_renamed(gate: Gate) -> None:
    path = gate.write("front/1.jpg")
    os.utime(path, (0, 0))
    closed_at = datetime.fromtimestamp(path.stat().st_ctime, UTC)
    assert gate.admitted(path).arrived_at == closed_at


def test_a_picture_never_arrived_in_the_future(gate: Gate) -> None:
    gate.clock.time = datetime(2001, 1, 1, tzinfo=UTC)
    assert gate.admitted(gate.write("front/1.jpg")).arrived_at == gate.clock.now()


def test_a_picture_was_taken_when_its_name_says_so_in_the_cameras_zone(gate: Gate) -> None:
    gate.clock.time = datetime.now(UTC)
    taken = gate.clock.now().replace(microsecond=0)
    for camera, zone in (("front", "Europe/Berlin"), ("tokyo", "Asia/Tokyo")):
        path = gate.write(f"{camera}/snap/Schedule_{taken.astimezone(ZoneInfo(zone)):%Y%m%d-%H%M%S}.jpg", jpeg(7))
        gate.cameras.update({"tokyo": CameraSettings("Asia/Tokyo")}, {})
        gate.clock.time = datetime.now(UTC)
        outcome = gate.admitted(path)
        assert (outcome.captured_at, outcome.time_source) == (taken, TimeSource.FILE_NAME)
        assert (outcome.source, outcome.priority) == (FrameSource.FOLDER, Priority.LIVE)


def test_a_picture_without_any_time_was_taken_when_its_file_was_written(gate: Gate) -> None:
    path = gate.write("front/1.jpg")
    written_at = datetime.now(UTC) - timedelta(hours=1)
    os.utime(path, (written_at.timestamp(), written_at.timestamp()))
    outcome = gate.admitted(path)
    assert abs(outcome.captured_at - written_at) < timedelta(milliseconds=1)
    assert outcome.time_source is TimeSource.MODIFIED
    os.utime(path, (0, 0))
    outcome = gate.admitted(path)
    assert (outcome.captured_at, outcome.time_source) == (outcome.arrived_at, TimeSource.ARRIVAL)


def test_an_old_picture_that_is_imported_keeps_its_time_and_teaches_nothing(gate: Gate) -> None:
    gate.source = FrameSource.IMPORT
    outcome = gate.admitted(gate.write("front/Schedule_20210501-120000.jpg"))
    assert (outcome.captured_at, outcome.time_source) == (datetime(2021, 5, 1, 10, tzinfo=UTC), TimeSource.FILE_NAME)
    assert (outcome.source, outcome.priority, outcome.clock_offset) == (FrameSource.IMPORT, Priority.HISTORY, None)


def test_what_is_learnt_of_a_clock_is_to_be_stored_once(gate: Gate) -> None:
    shown = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=100)
    path = gate.write(f"front/{int(shown.timestamp())}.jpg")
    learnt = gate.admitted(path).clock_offset
    assert learnt is not None
    assert timedelta(seconds=99) < learnt < timedelta(seconds=130)
    gate.cameras.update({}, {"front": learnt.total_seconds()})
    assert gate.admitted(path).clock_offset is None


def test_a_mask_is_burnt_into_what_is_stored_and_the_content_stays_the_same(gate: Gate) -> None:
    gate.cameras.update({"front": CameraSettings(masks=(LEFT_HALF,))}, {})
    path = gate.write("front/1.jpg", encoded(noise()))
    outcome = gate.admitted(path)
    assert outcome.picture.content_hash == examine(path.read_bytes(), TINY_ALLOWED).content_hash
    with Image.open(io.BytesIO(gate.media.read(outcome.media_path))) as stored:
        shown = np.asarray(stored)
    assert shown[:, :30].max() <= 3
    assert shown[:, 40:].max() > 100
    gate.cameras.update({}, {})
    assert gate.admitted(path).picture.content_hash == outcome.picture.content_hash
    assert gate.media.read(outcome.media_path) == outcome.picture.content


def test_a_file_that_is_gone_again_is_nothing(gate: Gate) -> None:
    path = gate.write("front/1.jpg")
    path.unlink()
    assert gate.admit(path) is None
    path.parent.rmdir()
    path.parent.write_bytes(b"a file where the folder was")
    assert gate.admit(path) is None


def test_a_file_directly_in_the_root_is_refused(gate: Gate) -> None:
    refusal = gate.refused(gate.write("1.jpg")).refusal
    assert (refusal.reason, refusal.camera_id, refusal.path) == (RefusalReason.NO_CAMERA_FOLDER, None, "1.jpg")


def test_a_refusal_names_the_camera_the_path_and_the_time(gate: Gate) -> None:
    refusal = gate.refused(gate.write("Front Door/1.jpg", b"no picture")).refusal
    assert (refusal.path, refusal.camera_id, refusal.refused_at) == ("Front Door/1.jpg", "front_door", LATER)
    assert refusal.reason is RefusalReason.NOT_A_PICTURE


def test_an_empty_file_is_refused_as_empty(gate: Gate) -> None:
    path = gate.write("front/1.jpg")
    path.write_bytes(b"")
    assert gate.refused(path).refusal.reason is RefusalReason.EMPTY


def test_a_file_beyond_the_limit_is_refused_without_being_read_whole(gate: Gate) -> None:
    path = gate.write("front/1.jpg")
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert gate.refused(path).refusal.reason is RefusalReason.TOO_LARGE


def test_a_link_out_of_the_root_is_refused(gate: Gate, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg())
    (gate.root / "front").mkdir()
    link = gate.root / "front" / "1.jpg"
    link.symlink_to(secret)
    assert gate.refused(link).refusal.reason is RefusalReason.OUTSIDE_ROOT
    folder = gate.root / "back"
    folder.symlink_to(tmp_path, target_is_directory=True)
    assert gate.refused(folder / "secret.jpg").refusal.reason is RefusalReason.OUTSIDE_ROOT


def test_a_link_within_the_root_is_followed(gate: Gate) -> None:
    target = gate.write("front/1.jpg")
    link = gate.root / "front" / "latest.jpg"
    link.symlink_to(target)
    assert gate.admitted(link).picture.content == jpeg()


def test_a_link_to_itself_is_refused(gate: Gate) -> None:
    (gate.root / "front").mkdir()
    link = gate.root / "front" / "1.jpg"
    link.symlink_to(link)
    assert gate.refused(link).refusal.reason is RefusalReason.UNREADABLE


def test_a_dangling_link_is_nothing(gate: Gate) -> None:
    (gate.root / "front").mkdir()
    link = gate.root / "front" / "1.jpg"
    link.symlink_to(gate.root / "front" / "gone.jpg")
    assert gate.admit(link) is None


@pytest.mark.timeout(10)
def test_what_is_no_regular_file_is_refused_and_not_waited_for(gate: Gate) -> None:
    (gate.root / "front").mkdir()
    pipe, folder = gate.root / "front" / "1.jpg", gate.root / "front" / "2.jpg"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder):
        assert gate.refused(path).refusal.reason is RefusalReason.UNREADABLE


def test_a_file_without_the_right_to_read_is_refused_with_a_remedy() -> None:
    with public_folder() as folder:
        gate = Gate(folder / "cameras", MediaFolder(folder / "media"), MovableClock(LATER))
        path = gate.write("front/1.jpg")
        path.chmod(0)
        with unprivileged():
            refusal = gate.refused(path).refusal
    assert refusal.reason is RefusalReason.UNREADABLE
    assert "check the owner and permissions" in refusal.detail


def test_a_file_in_a_folder_that_may_not_be_entered_is_refused_and_is_no_storage_failure() -> None:
    with public_folder() as folder:
        gate = Gate(folder / "cameras", MediaFolder(folder / "media"), MovableClock(LATER))
        path = gate.write("front/1.jpg")
        path.parent.chmod(0o644)
        with unprivileged():
            refusal = gate.refused(path).refusal
        path.parent.chmod(0o755)
    assert refusal.reason is RefusalReason.UNREADABLE
    assert "permissions" in refusal.detail


def test_a_time_that_no_database_holds_is_no_obstacle(gate: Gate) -> None:
    path = gate.write("front/1.jpg")
    os.utime(path, (9_999_999_999, 9_999_999_999))
    file = gate.admitted(path).file
    assert file is not None
    assert file.modified_ns == 2**63 - 1


def test_too_little_memory_is_not_the_picture_s_fault(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.Image.Image.load", no_memory)
    with pytest.raises(MemoryError):
        gate.admit(gate.write("front/1.png", png()))


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        (b"front/a\nb.jpg", "front/a\nb.jpg"),
        ("front/\u202egpj.1.jpg", "front/\u202egpj.1.jpg"),
        (b"front/\xff\xfe.jpg", "front/\\xff\\xfe.jpg"),
        (b"\xff\xfe/1.jpg", "\\xff\\xfe/1.jpg"),
        (b"front/" + b"a" * 251 + b".jpg", f"front/{'a' * 251}.jpg"),
        (b"a" * 255 + b"/1.jpg", f"{'a' * 255}/1.jpg"),
        ("前門/ü.jpg", "前門/ü.jpg"),
        ("front/'; DROP TABLE frames; --.jpg", "front/'; DROP TABLE frames; --.jpg"),
    ],
)
def test_a_file_of_any_name_is_admitted_and_recorded_as_text(gate: Gate, name: str | bytes, recorded: str) -> None:
    outcome = gate.admitted(gate.write(name))
    assert outcome.file is not None
    assert outcome.file.path == recorded
    recorded.encode()
    assert gate.media.read(outcome.media_path) == jpeg()


def test_a_picture_that_cannot_be_stored_is_to_be_tried_again(gate: Gate) -> None:
    path = gate.write("front/1.jpg")
    gate.media.root.write_text("in the way")
    with pytest.raises(OSError, match="media"):
        gate.admit(path)
    gate.media.root.unlink()
    assert gate.admitted(path).picture.content == jpeg()
