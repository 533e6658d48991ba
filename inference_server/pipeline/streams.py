# SPDX-License-Identifier: AGPL-3.0-or-later
"""Redis Streams: one stream per stage, read by one group of workers. Only what can be lost is kept there."""

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from inference_server.core.message import Message, StageName
from inference_server.pipeline.broker import BrokerDownError

try:
    import redis.asyncio
    from redis.exceptions import AuthenticationError, RedisError, ResponseError
except ModuleNotFoundError as error:
    MISSING: ModuleNotFoundError | None = error
else:
    MISSING = None

GROUP = "workers"
BLOCK_MILLISECONDS = 1000
TIMEOUT_SECONDS = 10.0
REBUILD_SECONDS = 30
"""How long one worker may take to fill the streams anew before another one tries."""
_FIELD = "message"
_REBUILT = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[2])
  redis.call('DEL', KEYS[1])
end
"""
_MESSAGE = TypeAdapter(Message)


class RedisMissingError(Exception):
    """The client library of Redis is not installed."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "Redis needs the extra `redis`, which is not installed: install it (uv tool install '.[postgres,redis]'), "
            "or leave HSI_REDIS_URL out."
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as its stream delivered it. `id` is the stream's own."""

    id: str
    message: Message


class Streams:
    """The streams of one server, as one worker sees them. Every method raises BrokerDownError."""

    def __init__(self, url: str, *, prefix: str, worker: str) -> None:
        """Take the address of Redis or Valkey, what all names begin with, and a name that no other worker has.

        Raises RedisMissingError.
        """
        if MISSING is not None:
            raise RedisMissingError from MISSING
        self._client: Any = redis.asyncio.from_url(
            url, decode_responses=True, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
        self._prefix = prefix
        self._worker = worker
        self._attempt = ""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def are_intact(self) -> bool:
        """Return whether the streams were filled since Redis started and are all there still."""
        async with _translated():
            if await self._client.get(self._name("filled_by")) != await self._run_id():
                return False
            return all([await self._has_group(stage) for stage in StageName])

    async def rebuild(self) -> bool:
        """Empty every stream. Return False if another worker is just doing so or has done so; else `rebuilt` follows.

        Until then the streams are not intact, so that the death of this worker is made good by another one.
        """
        async with _translated():
            if not await self._begin_rebuilding():
                return False
            if await self.are_intact():
                await self._client.delete(self._name("rebuilding"))
                return False
            await self._client.delete(self._name("filled_by"))
            for stage in StageName:
                await self._client.delete(self._stream(stage))
                await self._client.xgroup_create(self._stream(stage), GROUP, id="0", mkstream=True)
            return True

    async def rebuilt(self) -> None:
        """Note that whatever the streams have to hold will be sent; nothing, if another worker has begun anew since."""
        async with _translated():
            names = (self._name("rebuilding"), self._name("filled_by"))
            await self._client.eval(_REBUILT, len(names), *names, self._attempt, await self._run_id())

    async def lengths(self) -> dict[StageName, int]:
        """Return how many messages each stream holds, those that are being worked on too."""
        async with _translated(), self._client.pipeline(transaction=False) as pipeline:
            for stage in StageName:
                pipeline.xlen(self._stream(stage))
            return dict(zip(StageName, map(int, await pipeline.execute()), strict=True))

    async def unread(self, stage: StageName) -> int:
        """Return how many messages of a stage's stream nobody has taken yet."""
        async with _translated():
            held = await self._client.xlen(self._stream(stage))
            taken = await self._client.xpending(self._stream(stage), GROUP)
        return max(int(held) - int(taken["pending"]), 0)

    async def add(self, stage: StageName, messages: Iterable[Message]) -> None:
        """Append messages."""
        async with _translated(), self._client.pipeline(transaction=False) as pipeline:
            for message in messages:
                pipeline.xadd(self._stream(stage), {_FIELD: _MESSAGE.dump_json(message)})
            await pipeline.execute()

    async def read(self, stage: StageName, limit: int, *, block: bool = False) -> list[Entry]:
        """Take messages that nobody has, oldest first; `block` waits a second for the first one."""
        async with _translated():
            found = await self._client.xreadgroup(
                GROUP,
                self._worker,
                {self._stream(stage): ">"},
                count=limit,
                block=BLOCK_MILLISECONDS if block else None,
            )
        return [_entry(item, deliveries=1) for _, items in found or [] for item in items]

    async def abandoned(self, stage: StageName, idle: timedelta, limit: int) -> list[Entry]:
        """Take messages over from workers who have not said for so long that they still have them."""
        milliseconds = int(idle.total_seconds() * 1000)
        async with _translated():
            _, items, _ = await self._client.xautoclaim(
                self._stream(stage), GROUP, self._worker, min_idle_time=milliseconds, count=limit
            )
        return await self._with_deliveries(stage, items)

    async def own(self, stage: StageName, limit: int) -> list[Entry]:
        """Return messages that a worker of this name took and did not settle."""
        async with _translated():
            found = await self._client.xreadgroup(GROUP, self._worker, {self._stream(stage): "0"}, count=limit)
        return await self._with_deliveries(stage, [item for _, items in found or [] for item in items if item[1]])

    async def keep(self, stage: StageName, ids: Sequence[str]) -> None:
        """Say that this worker still has these messages."""
        async with _translated():
            await self._client.xclaim(self._stream(stage), GROUP, self._worker, 0, list(ids), justid=True)

    async def settle(self, stage: StageName, ids: Sequence[str]) -> None:
        """Remove messages from a stream."""
        async with _translated(), self._client.pipeline() as pipeline:
            pipeline.xack(self._stream(stage), GROUP, *ids)
            pipeline.xdel(self._stream(stage), *ids)
            await pipeline.execute()

    async def _with_deliveries(self, stage: StageName, items: Sequence[Any]) -> list[Entry]:
        entries = []
        for item in items:
            async with _translated():
                pending = await self._client.xpending_range(self._stream(stage), GROUP, item[0], item[0], 1)
            entries.append(_entry(item, deliveries=pending[0]["times_delivered"] if pending else 1))
        return entries

    async def _begin_rebuilding(self) -> bool:
        lock, self._attempt = self._name("rebuilding"), f"{self._worker} {secrets.token_hex(8)}"
        if await self._client.set(lock, self._attempt, nx=True, ex=REBUILD_SECONDS):
            return True
        if str(await self._client.get(lock)).split()[0] != self._worker:
            return False
        # a lock of this worker's own is one that it left when it died
        return bool(await self._client.set(lock, self._attempt, ex=REBUILD_SECONDS))

    async def _has_group(self, stage: StageName) -> bool:
        try:
            groups = await self._client.xinfo_groups(self._stream(stage))
        except ResponseError:  # there is no such stream
            return False
        return any(group["name"] == GROUP for group in groups)

    async def _run_id(self) -> str:
        return str((await self._client.info("server"))["run_id"])

    def _stream(self, stage: StageName) -> str:
        return self._name(stage.value)

    def _name(self, part: str) -> str:
        return f"{self._prefix}:{part}"


def _entry(item: Any, *, deliveries: int) -> Entry:
    entry_id, fields = item
    message = _MESSAGE.validate_json(fields[_FIELD])
    return Entry(entry_id, replace(message, attempts=message.attempts + deliveries))


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except AuthenticationError as error:
        raise BrokerDownError(f"Redis does not let this server in: {error}") from error
    except ResponseError as error:
        raise BrokerDownError(f"the streams in Redis are not ready: {error}") from error
    except (RedisError, OSError) as error:
        raise BrokerDownError(f"Redis does not answer: {error}") from error
