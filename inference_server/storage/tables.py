# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables. A change here needs a migration in `migrations/versions`."""

from datetime import UTC, datetime
from typing import override

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
    true,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, stored in UTC. A naive one raises ValueError instead of being guessed at."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value} has no time zone")
        return value.astimezone(UTC)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Key = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up only a column that is exactly INTEGER."""

identity = Table(
    "identity",
    metadata,
    Column("server_id", String(32), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
)

cameras = Table(
    "cameras",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_frame_at", UtcDateTime),
    Column("last_frame_id", Key),
    Column("last_event_id", Key),
    Column("removed_at", UtcDateTime),
    Column("time_zone", String(64)),
    Column("ignore_patterns", JSON, nullable=False, server_default="[]"),
    Column("masks", JSON, nullable=False, server_default="[]"),
    Column("clock_offset_seconds", Float),
    Column("watch_view", Boolean, nullable=False, server_default=true()),
    Column("view_problems", JSON, nullable=False, server_default="[]"),
    Column("place", String(16), nullable=False, server_default="other"),
    Column("leads_to", JSON, nullable=False, server_default="[]"),
)

clips = Table(
    "clips",
    metadata,
    Column("id", Key, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("media_path", Text, nullable=False),
    Column("captured_at", UtcDateTime, nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("duration_seconds", Float, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("pruned_at", UtcDateTime),
    UniqueConstraint("camera_id", "content_hash"),
    Index(None, "camera_id", "captured_at"),
    sqlite_autoincrement=True,
)
"""Videos that were admitted; the pictures sampled from one are frames. A pruned one has lost its file."""

frames = Table(
    "frames",
    metadata,
    Column("id", Key, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("media_path", Text, nullable=False),
    Column("captured_at", UtcDateTime, nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("source", String(16), nullable=False, server_default="folder"),
    Column("time_source", String(16), nullable=False, server_default="arrival"),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("clip_id", ForeignKey("clips.id"), index=True),
    Column("clip_offset_seconds", Float),
    Column("pruned_at", UtcDateTime),
    Column("view", LargeBinary),
    UniqueConstraint("camera_id", "content_hash"),
    Index(None, "camera_id", "captured_at"),
    sqlite_autoincrement=True,
)
"""Admitted pictures. A pruned one has lost its file; `clip_offset_seconds` is its place in its clip, `view` what the
whole picture looks like.
"""

arrivals = Table(
    "arrivals",
    metadata,
    Column("id", Key, primary_key=True),
    Column("path", Text, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("camera_id", String(64)),
    Column("frame_id", ForeignKey("frames.id"), index=True),
    Column("clip_id", ForeignKey("clips.id"), index=True),
    Column("refusal_reason", String(32)),
    Column("refusal_detail", Text),
    Index(None, "refusal_reason", "arrived_at"),
    sqlite_autoincrement=True,
)
"""Files that were found and what became of them: a frame, a clip, a refusal, or nothing (left alone, or pruned since).

The path is relative to the watch root, and absolute for a file of another root.
"""

watch_roots = Table(
    "watch_roots",
    metadata,
    Column("path", Text, primary_key=True),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
)
"""Roots that were seen before. What lay in one at its first sight is imported or left alone, as the owner chose, until
it is finished. An empty path stands for the main root of before this table.
"""

events = Table(
    "events",
    metadata,
    Column("id", Key, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("last_detection_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("end_reason", String(16)),
    Column("frame_count", Integer, nullable=False),
    Column("best_frame_id", ForeignKey("frames.id"), nullable=False),
    Column("best_confidence", Float, nullable=False),
    Column("tracks", JSON, nullable=False),
    Column("score", Integer, nullable=False),
    Column("assessment_id", Key),
    Column("evidence", Text),
    Column("analysed_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    Index(None, "started_at"),
    Index(None, "camera_id", "started_at"),
    Index(None, "best_frame_id"),
    Index(
        None,
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
    Index(
        "uq_events_open_camera_id",
        "camera_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)
"""Happenings. `evidence` is what the rules judged by, as `risk/recorded.py` writes it; `analysed_at` tells when the
analyst was asked last. The index is of the trash alone: one of all events SQLite would take to find those in no trash,
and read the whole history.
"""

detections = Table(
    "detections",
    metadata,
    Column("id", Key, primary_key=True),
    Column("frame_id", ForeignKey("frames.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("event_id", ForeignKey("events.id"), index=True),
    Column("label", String(16), nullable=False),
    Column("confidence", Float, nullable=False),
    Column("x", Float, nullable=False),
    Column("y", Float, nullable=False),
    Column("width", Float, nullable=False),
    Column("height", Float, nullable=False),
    Column("appearance", LargeBinary),
    Column("left_out", String(16)),
    UniqueConstraint("frame_id", "ordinal"),
)
"""What the detector saw; `left_out` says why one makes no event."""

stationary_objects = Table(
    "stationary_objects",
    metadata,
    Column("id", Key, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False, index=True),
    Column("label", String(16), nullable=False),
    Column("x", Float, nullable=False),
    Column("y", Float, nullable=False),
    Column("width", Float, nullable=False),
    Column("height", Float, nullable=False),
    Column("appearance", LargeBinary),
    Column("view", LargeBinary),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("sightings", Integer, nullable=False),
    Column("misses", Integer, nullable=False),
    Column("missing", Integer, nullable=False),
    Column("missing_since", UtcDateTime),
    Column("stationary_at", UtcDateTime),
    sqlite_autoincrement=True,
)
"""What stands still on a camera's picture, or may: `stationary_at` is null until it does. Boxes are shares of the
picture.

`arrived_at` is when the last picture of it arrived. `missing` counts the pictures since that should have shown it.
"""

zones = Table(
    "zones",
    metadata,
    Column("id", Key, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False),
    Column("name", String(50), nullable=False),
    Column("type", String(16), nullable=False),
    Column("points", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("min_size", Float, nullable=False),
    Column("inertia", Integer, nullable=False),
    Column("loitering_seconds", Float, nullable=False),
    Column("line", JSON),
    Column("priority", Integer, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("colour", String(7), nullable=False),
    UniqueConstraint("camera_id", "name"),
    sqlite_autoincrement=True,
)
"""Named areas of the cameras' pictures, as `core/zone.py` describes them."""

home_context = Table(
    "home_context",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("told_at", UtcDateTime, nullable=False),
    Column("told", JSON, nullable=False),
)
"""One row: the state of the home as Home Assistant told it last."""

habits = Table(
    "habits",
    metadata,
    Column("camera_id", ForeignKey("cameras.id"), primary_key=True),
    Column("category", String(16), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("objects", Float, nullable=False),
    Column("hours", Float, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
"""What each camera usually sees in each hour of the week, as `core/baseline.py` describes it."""

prompt_versions = Table(
    "prompt_versions",
    metadata,
    Column("id", Key, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("name", String(60), nullable=False),
    Column("text", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(100)),
    Column("digest", String(64)),
    Column("active", Boolean, nullable=False),
    Column("chosen", Boolean, nullable=False),
    Column("activated_at", UtcDateTime),
    UniqueConstraint("kind", "number"),
    Index(
        "uq_prompt_versions_active_kind",
        "kind",
        unique=True,
        sqlite_where=text("active"),
        postgresql_where=text("active"),
    ),
    sqlite_autoincrement=True,
)
"""What the language model is told. `digest` is the shipped file's, null for versions of the owner's own; `chosen` says
that somebody made it the active one, so that no newer shipped one takes its place.
"""

incidents = Table(
    "incidents",
    metadata,
    Column("id", Key, primary_key=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("score", Integer, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("title", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("cameras", JSON, nullable=False),
    Column("event_ids", JSON, nullable=False),
    Column("listed", Boolean, nullable=False),
    Index(None, "started_at"),
    Index(
        "ix_incidents_open",
        "last_at",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)
"""Stories. `event_ids` are those that are not in the trash; one without any is not `listed`."""

incident_events = Table(
    "incident_events",
    metadata,
    Column("event_id", ForeignKey("events.id"), primary_key=True),
    Column("incident_id", ForeignKey("incidents.id"), nullable=False, index=True),
    Column("subject", Text, nullable=False),
    Column("line", Text, nullable=False),
)
"""Which incident an event is part of, and what the story says of it.

No column of `events`: whoever changes an event would wait for who arranges the incidents, and that one for him.
"""

camera_transitions = Table(
    "camera_transitions",
    metadata,
    Column("from_camera", ForeignKey("cameras.id"), primary_key=True),
    Column("to_camera", ForeignKey("cameras.id"), primary_key=True),
    Column("category", String(16), primary_key=True),
    Column("onsets", Float, nullable=False),
    Column("followed", Float, nullable=False),
    Column("by_chance", Float, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
"""Which camera sees something after which, as `core/transition.py` describes it."""

judged_hours = Table(
    "judged_hours",
    metadata,
    Column("begin", UtcDateTime, primary_key=True),
    Column("minutes", BigInteger, nullable=False),
)
"""In which minutes of each hour (of UTC) pictures could be judged: one bit each, the lowest for the first."""

summaries = Table(
    "summaries",
    metadata,
    Column("id", Key, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=False),
    Column("headline", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("source", String(16), nullable=False),
    Column("facts", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("kind", "started_at"),
    Index(None, "started_at"),
    sqlite_autoincrement=True,
)
"""What each hour and day was like."""

assessments = Table(
    "assessments",
    metadata,
    Column("id", Key, primary_key=True),
    Column("event_id", ForeignKey("events.id"), nullable=False, index=True),
    Column("score", Integer, nullable=False),
    Column("summary", Text, nullable=False),
    Column("reasoning", Text, nullable=False),
    Column("factors", JSON, nullable=False),
    Column("source", String(16), nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("assessed_at", UtcDateTime, nullable=False),
    Column("analysis", JSON(none_as_null=True)),
)
"""Every verdict on every event; an event names the one that stands. `analysis` says how a model came to it."""

feedback = Table(
    "feedback",
    metadata,
    Column("id", Key, primary_key=True),
    Column("camera_id", ForeignKey("cameras.id"), nullable=False, index=True),
    Column("event_id", ForeignKey("events.id")),
    Column("kind", String(16), nullable=False),
    Column("level", String(16)),
    Column("name", String(100)),
    Column("note", Text, nullable=False),
    Column("given_by", String(100)),
    Column("given_at", UtcDateTime, nullable=False, index=True),
    Column("withdrawn_at", UtcDateTime),
    Column("place", String(16), nullable=False),
    Column("category", String(16)),
    Column("night", Boolean, nullable=False),
    Column("features", JSON, nullable=False),
    Column("score", Integer, nullable=False),
    Column("threatened", Boolean, nullable=False),
    Index(None, "event_id"),
    Index(
        "uq_feedback_counting_event_id",
        "event_id",
        unique=True,
        sqlite_where=text("withdrawn_at IS NULL"),
        postgresql_where=text("withdrawn_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)
"""What was said of events, and what these were like, which stays when they are deleted."""

feedback_state = Table(
    "feedback_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("stamp", String(32), nullable=False),
)
"""One row: a text that is another one whenever the feedback that counts is."""

messages = Table(
    "messages",
    metadata,
    Column("id", Key, primary_key=True),
    Column("stage", String(16), nullable=False),
    Column("subject_id", Key, nullable=False),
    Column("camera_id", String(64), nullable=False, index=True),
    Column("available_at", UtcDateTime, nullable=False),
    Column("enqueued_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("leased_until", UtcDateTime),
    Column("leased_by", String(64), index=True),
    Column("last_error", Text),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("turn", BigInteger, nullable=False, server_default="0"),
    Column("sent_at", UtcDateTime),
    Column("replays", Integer, nullable=False, server_default="0"),
    UniqueConstraint("stage", "subject_id"),
    Index(None, "stage", "available_at"),
    Index(None, "stage", "priority", "turn", "id"),
    Index(None, "stage", "camera_id", "turn"),
    sqlite_autoincrement=True,
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Key, primary_key=True),
    Column("stage", String(16), nullable=False),
    Column("subject_id", Key, nullable=False),
    Column("camera_id", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("enqueued_at", UtcDateTime, nullable=False),
    Column("died_at", UtcDateTime, nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("service", String(32)),
    Column("trace", Text),
    Column("replays", Integer, nullable=False, server_default="0"),
    Column("discarded_at", UtcDateTime),
    UniqueConstraint("stage", "subject_id"),
    sqlite_autoincrement=True,
)
"""Messages that failed for good. `service` names the model service that was to blame, if one was.

A discarded one stays, so that its frame is accounted for as long as there is one.
"""

announcements = Table(
    "announcements",
    metadata,
    Column("sequence", Key, primary_key=True, autoincrement=False),
    Column("body", JSON, nullable=False),
)

announcement_sequence = Table(
    "announcement_sequence",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)
"""One row: the last number given out. Its lock orders the commits of all processes as their numbers are ordered."""

workers = Table(
    "workers",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("detector", String(16), nullable=False),
)
"""The processes that work on this database, with the state of each one's detector."""

chores = Table(
    "chores",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("done_at", UtcDateTime),
    Column("leased_by", String(64)),
    Column("leased_until", UtcDateTime),
)
"""What one process at a time does for all of them: who does it now, and when it was last done to its end."""

views = Table(
    "views",
    metadata,
    Column("camera_id", ForeignKey("cameras.id"), primary_key=True),
    Column("state", JSON, nullable=False),
)
"""Where the watch over each camera's view stands."""

view_baselines = Table(
    "view_baselines",
    metadata,
    Column("camera_id", ForeignKey("cameras.id"), primary_key=True),
    Column("light", String(16), primary_key=True),
    Column("learnt_at", UtcDateTime, nullable=False),
    Column("pictures", Integer, nullable=False),
    Column("content", Text, nullable=False),
)
"""What stays in each camera's view, by light: numbers in base64, as `views.py` packs them."""

ftp_accounts = Table(
    "ftp_accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("folder", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
"""One account per camera; the folder is the camera's own."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("scope", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    sqlite_autoincrement=True,
)
