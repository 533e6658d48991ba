# SPDX-License-Identifier: AGPL-3.0-or-later
"""Problems: what clients are told when something goes wrong (RFC 9457)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from aiohttp import hdrs, web

from inference_server.api.schema import WireObject
from inference_server.core.frame import RefusalReason

CONTENT_TYPE = "application/problem+json"


class ProblemCode(StrEnum):
    """The stable names, made for programs."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    NOT_FOUND = "not_found"
    CAMERA_NOT_FOUND = "camera_not_found"
    EVENT_NOT_FOUND = "event_not_found"
    INCIDENT_NOT_FOUND = "incident_not_found"
    FRAME_NOT_FOUND = "frame_not_found"
    DETECTION_NOT_FOUND = "detection_not_found"
    FTP_ACCOUNT_NOT_FOUND = "ftp_account_not_found"
    NO_PICTURE = "no_picture"
    DEAD_LETTER_NOT_FOUND = "dead_letter_not_found"
    DEAD_LETTER_DISCARDED = "dead_letter_discarded"
    BACKUP_NOT_FOUND = "backup_not_found"
    BACKUP_RUNNING = "backup_running"
    DISK_NEARLY_FULL = "disk_nearly_full"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_NOT_INSTALLED = "model_not_installed"
    MODEL_IN_USE = "model_in_use"
    MODEL_BUSY = "model_busy"
    MODEL_UNPINNED = "model_unpinned"
    MODEL_REFUSED = "model_refused"
    CLIP_NOT_FOUND = "clip_not_found"
    NO_VIDEO = "no_video"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID_REQUEST = "invalid_request"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    TOO_BUSY = "too_busy"
    REFUSED = "refused"
    EVENT_OPEN = "event_open"
    ZONE_NOT_FOUND = "zone_not_found"
    STATIONARY_OBJECT_NOT_FOUND = "stationary_object_not_found"
    FEEDBACK_NOT_FOUND = "feedback_not_found"
    PROMPT_NOT_FOUND = "prompt_not_found"
    PROMPT_IN_USE = "prompt_in_use"
    PROMPT_UNUSABLE = "prompt_unusable"
    CLEANUP_RUNNING = "cleanup_running"
    NOT_READY = "not_ready"
    STORAGE_DOWN = "storage_down"
    DETECTOR_DOWN = "detector_down"
    NO_ANALYST = "no_analyst"
    INTERNAL = "internal"

    @property
    def kind(self) -> "ProblemKind":
        """The status and title of this code."""
        return _KINDS[self]


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What all problems of a code have in common."""

    status: int
    title: str


_KINDS = {
    ProblemCode.UNAUTHORIZED: ProblemKind(401, "Unauthorized"),
    ProblemCode.FORBIDDEN: ProblemKind(403, "Forbidden"),
    ProblemCode.TOO_MANY_ATTEMPTS: ProblemKind(429, "Too many attempts"),
    ProblemCode.NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.CAMERA_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.EVENT_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.INCIDENT_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.FRAME_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.DETECTION_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.FTP_ACCOUNT_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.NO_PICTURE: ProblemKind(404, "No picture"),
    ProblemCode.DEAD_LETTER_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.DEAD_LETTER_DISCARDED: ProblemKind(409, "Discarded"),
    ProblemCode.BACKUP_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.BACKUP_RUNNING: ProblemKind(409, "Backup is running"),
    ProblemCode.DISK_NEARLY_FULL: ProblemKind(507, "Disk nearly full"),
    ProblemCode.MODEL_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.MODEL_NOT_INSTALLED: ProblemKind(404, "Not installed"),
    ProblemCode.MODEL_IN_USE: ProblemKind(409, "Model is in use"),
    ProblemCode.MODEL_BUSY: ProblemKind(409, "Model is busy"),
    ProblemCode.MODEL_UNPINNED: ProblemKind(409, "Model is unpinned"),
    ProblemCode.MODEL_REFUSED: ProblemKind(422, "Model refused"),
    ProblemCode.CLIP_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.NO_VIDEO: ProblemKind(404, "No video"),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemKind(405, "Method not allowed"),
    ProblemCode.INVALID_REQUEST: ProblemKind(422, "Invalid request"),
    ProblemCode.TOO_LARGE: ProblemKind(413, "Too large"),
    ProblemCode.TOO_SLOW: ProblemKind(408, "Too slow"),
    ProblemCode.TOO_BUSY: ProblemKind(429, "Too busy"),
    ProblemCode.REFUSED: ProblemKind(422, "Refused"),
    ProblemCode.ZONE_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.STATIONARY_OBJECT_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.FEEDBACK_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.EVENT_OPEN: ProblemKind(409, "Event is open"),
    ProblemCode.PROMPT_NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.PROMPT_IN_USE: ProblemKind(409, "Prompt is in use"),
    ProblemCode.PROMPT_UNUSABLE: ProblemKind(422, "No usable prompt"),
    ProblemCode.CLEANUP_RUNNING: ProblemKind(409, "Cleanup is running"),
    ProblemCode.NOT_READY: ProblemKind(503, "Not ready"),
    ProblemCode.STORAGE_DOWN: ProblemKind(503, "Storage down"),
    ProblemCode.DETECTOR_DOWN: ProblemKind(503, "Detector down"),
    ProblemCode.NO_ANALYST: ProblemKind(503, "No analyst"),
    ProblemCode.INTERNAL: ProblemKind(500, "Internal error"),
}


class Problem(WireObject):
    """A problem document."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    code: ProblemCode
    detail: str
    remedy: str
    reason: RefusalReason | None = None
    """Why what was sent was refused; of the code `refused` alone."""


class ProblemError(Exception):
    """Ends a request with a problem. `status` overrides that of the code."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        remedy: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        reason: RefusalReason | None = None,
    ) -> None:
        """Take what the client is told."""
        super().__init__(detail)
        self.problem = Problem(
            title=code.kind.title,
            status=status or code.kind.status,
            code=code,
            detail=detail,
            remedy=remedy,
            reason=reason,
        )
        self.headers = headers or {}

    def response(self) -> web.Response:
        """Return the problem document as a response."""
        return web.Response(
            status=self.problem.status,
            headers=self.headers,
            content_type=CONTENT_TYPE,
            text=self.problem.model_dump_json(exclude_none=True),
        )


def camera_not_found(camera_id: str) -> ProblemError:
    """Return the problem of an unknown or removed camera."""
    return ProblemError(
        ProblemCode.CAMERA_NOT_FOUND, f'There is no camera "{camera_id}".', "GET /api/cameras lists the cameras."
    )


def event_not_found(event_id: int) -> ProblemError:
    """Return the problem of an unknown event."""
    return ProblemError(
        ProblemCode.EVENT_NOT_FOUND, f"There is no event {event_id}.", "GET /api/events lists the events."
    )


def incident_not_found(incident_id: int) -> ProblemError:
    """Return the problem of an unknown incident."""
    return ProblemError(
        ProblemCode.INCIDENT_NOT_FOUND,
        f"There is no incident {incident_id}.",
        "GET /api/incidents lists the incidents; one that became part of another has that one's number.",
    )


def frame_not_found(frame_id: int) -> ProblemError:
    """Return the problem of an unknown frame."""
    return ProblemError(
        ProblemCode.FRAME_NOT_FOUND,
        f"There is no frame {frame_id}.",
        "GET /api/events/{event_id}/detections names the frames of an event.",
    )


def detection_not_found(frame_id: int, ordinal: int) -> ProblemError:
    """Return the problem of an object that was not seen in a frame."""
    return ProblemError(
        ProblemCode.DETECTION_NOT_FOUND,
        f"The frame {frame_id} has no detection {ordinal}.",
        "GET /api/events/{event_id}/detections names the detections of an event, each with its frame and ordinal.",
    )


def ftp_account_not_found(camera_id: str) -> ProblemError:
    """Return the problem of a camera without an account."""
    return ProblemError(
        ProblemCode.FTP_ACCOUNT_NOT_FOUND,
        f'The camera "{camera_id}" has no account on the FTP server.',
        "GET /api/ftp/accounts lists the accounts.",
    )


def dead_letter_not_found(letter_id: int) -> ProblemError:
    """Return the problem of a dead letter that is unknown, or was sent back to its stage."""
    return ProblemError(
        ProblemCode.DEAD_LETTER_NOT_FOUND,
        f"There is no dead letter {letter_id}: it was replayed, or there never was one.",
        "GET /api/dead_letters lists the dead letters.",
    )


def dead_letter_discarded(letter_id: int) -> ProblemError:
    """Return the problem of a dead letter that was given up for ever."""
    return ProblemError(
        ProblemCode.DEAD_LETTER_DISCARDED,
        f"The dead letter {letter_id} was discarded.",
        "It cannot be tried again; GET /api/dead_letters lists those that can.",
    )


def backup_not_found(name: str) -> ProblemError:
    """Return the problem of a backup that is not there."""
    return ProblemError(
        ProblemCode.BACKUP_NOT_FOUND, f'There is no backup "{name}".', "GET /api/system/backups lists the backups."
    )


def invalid_request(detail: str, remedy: str = "GET /api/openapi.json describes every request.") -> ProblemError:
    """Return the problem of a request that says something impossible."""
    return ProblemError(ProblemCode.INVALID_REQUEST, detail, remedy)


def storage_down() -> ProblemError:
    """Return the problem of a database or disk that does not answer."""
    return ProblemError(
        ProblemCode.STORAGE_DOWN,
        "The database or the disk does not answer.",
        "Ask again later; GET /api/system/health/full says which part is down and what to do.",
        headers={hdrs.RETRY_AFTER: "10"},
    )


def too_busy(reason: str, seconds: int) -> ProblemError:
    """Return the problem of what cannot be taken in now, but later."""
    remedy = f"Try again in {seconds} seconds; GET /api/system/health/full shows which part is unwell."
    return ProblemError(ProblemCode.TOO_BUSY, reason, remedy, headers={hdrs.RETRY_AFTER: str(seconds)})


def no_picture(detail: str, remedy: str) -> ProblemError:
    """Return the problem of a picture that cannot be shown."""
    return ProblemError(ProblemCode.NO_PICTURE, detail, remedy)


def cleanup_running() -> ProblemError:
    """Return the problem of a cleanup while another one is under way."""
    return ProblemError(
        ProblemCode.CLEANUP_RUNNING,
        "Another cleanup is under way.",
        "Try again when it is done; GET /api/system/storage says what is left.",
    )


def clip_not_found(clip_id: int) -> ProblemError:
    """Return the problem of an unknown clip."""
    return ProblemError(
        ProblemCode.CLIP_NOT_FOUND, f"There is no clip {clip_id}.", "The field `clips` of an event names its clips."
    )


def zone_not_found(camera_id: str, zone_id: int) -> ProblemError:
    """Return the problem of an unknown zone."""
    return ProblemError(
        ProblemCode.ZONE_NOT_FOUND,
        f'The camera "{camera_id}" has no zone {zone_id}.',
        "GET /api/cameras/{camera_id}/zones lists its zones.",
    )


def stationary_object_not_found(camera_id: str, stationary_id: int) -> ProblemError:
    """Return the problem of something that does not stand still, or not any more."""
    return ProblemError(
        ProblemCode.STATIONARY_OBJECT_NOT_FOUND,
        f'On the picture of the camera "{camera_id}" there is no stationary object {stationary_id}.',
        "GET /api/cameras/{camera_id}/stationary lists them; it may have moved.",
    )


def prompt_not_found(kind: str, number: int) -> ProblemError:
    """Return the problem of an unknown version of a prompt."""
    return ProblemError(
        ProblemCode.PROMPT_NOT_FOUND,
        f"There is no version {number} of the prompt {kind}.",
        f"GET /api/prompts/{kind}/versions lists them.",
    )


def no_video(detail: str) -> ProblemError:
    """Return the problem of a clip that cannot be played."""
    return ProblemError(
        ProblemCode.NO_VIDEO, detail, "Its pictures may still be there; restore its file from a backup to play it."
    )
