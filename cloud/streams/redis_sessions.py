"""Session setups, fences, revocations and durable acks on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from cloud.errors import UnmarkedError
from cloud.streams.ports import CropRefusals, DurableAck, Superseded
from cloud.streams.redis_connection import slot_key, translated
from cloud.streams.redis_streams import ACK_CHANNEL, REFUSAL_CHANNEL
from privacy.crypto.binding import receipt_digest
from privacy.errors import MessageError
from privacy.protocol.codec import decode_setup, encode_setup
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import SessionSetup

REVOCATION_CHANNEL = "revocations"
DAY_S = 86_400
RECONNECT_MAX_S = 1.0
"""Longest wait before a subscription is tried again: a revocation must act within a second or so."""

_CLAIM = """
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local receipt = redis.call('GET', KEYS[5])
if receipt and string.match(receipt, ':(.*)$') ~= ARGV[5] then return 0 end
local held = redis.call('GET', KEYS[1])
if held then
  local epoch, owner = string.match(held, '^(%d+):(.*)$')
  epoch = tonumber(epoch)
  local wanted = tonumber(ARGV[1])
  if epoch > wanted or (epoch == wanted and owner ~= ARGV[2]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'EX', 86400)
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
redis.call('SADD', KEYS[4], ARGV[1])
redis.call('EXPIRE', KEYS[4], 86400)
return 1
"""
"""Refused once revoked, in the same step: what an erasure has forgotten is not stored again after it."""

_PUT_IN_FORCE = """
local held = redis.call('GET', KEYS[1])
if held then
  local ordinal, digest = string.match(held, '^(%d+):(.*)$')
  if tonumber(ordinal) > tonumber(ARGV[1]) then return 0 end
  if ordinal == ARGV[1] and digest == ARGV[2] then return 1 end
end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'EX', 86400)
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ':' .. ARGV[2])
return 1
"""


class RedisSetupStore:
    """Setups on `setup:{session}:epoch`, fences on `owner:{session}`, what there is on `epochs:{session}`.

    The receipt in force lies on `receipt:{session}`, as ordinal and digest.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def claim(self, setup: SessionSetup, *, owner: str, ttl_ms: int) -> bool:
        """Fence the session at `setup.epoch` for `owner` and store the setup, atomically."""
        session = UUID(setup.session).hex
        keys = (
            slot_key("owner", session),
            slot_key("setup", session, setup.epoch),
            slot_key("revoked", session),
            slot_key("epochs", session),
            slot_key("receipt", session),
        )
        digest = receipt_digest(setup.receipt).hex()
        values = (setup.epoch, owner, encode_setup(setup), ttl_ms, digest)
        with translated():
            answer = await cast(Any, self._redis.eval(_CLAIM, len(keys), *keys, *values))
        return bool(answer)

    async def fenced_epoch(self, session: SessionId) -> int:
        """Return the session's latest epoch, 0 if there was none."""
        with translated():
            held: Any = await self._redis.get(slot_key("owner", session.hex))
        return int(held.partition(b":")[0]) if held else 0

    async def setup(self, session: SessionId, *, epoch: int) -> SessionSetup | None:
        """Return the stored setup of one epoch, None if it is unknown, expired or malformed."""
        with translated():
            stored: Any = await self._redis.get(slot_key("setup", session.hex, epoch))
        if stored is None:
            return None
        try:
            return decode_setup(stored)
        except MessageError:
            return None

    async def forget(self, session: SessionId) -> None:
        """Remove every setup and the fence of a session."""
        known = slot_key("epochs", session.hex)
        with translated():
            # an agent numbers its epochs as it likes, so they are listed, never counted through
            epochs = [int(epoch) for epoch in await cast(Any, self._redis.smembers(known))]
            keys = [slot_key("setup", session.hex, epoch) for epoch in epochs]
            await self._redis.delete(
                slot_key("owner", session.hex), slot_key("receipt", session.hex), known, *keys
            )

    async def count(self, session: SessionId) -> int:
        """Count what is kept of a session: its setups, and its fence as one."""
        with translated():
            epochs = await cast(Any, self._redis.smembers(slot_key("epochs", session.hex)))
            keys = [slot_key("setup", session.hex, int(epoch)) for epoch in epochs]
            return int(await self._redis.exists(slot_key("owner", session.hex), *keys))


class RedisRevocations:
    """Revocations on `revoked:{session}`, receipts on `receipt:{session}`, both told on one channel; see the port."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def revoke(self, session: SessionId) -> None:
        """Tell every listener and remember it for a day; a full server tells it all the same."""
        marking = self._redis.pipeline(transaction=False)
        marking.set(slot_key("revoked", session.hex), b"1", ex=DAY_S)
        marking.publish(REVOCATION_CHANNEL, session.hex)
        with translated():
            marked, told = await marking.execute(raise_on_error=False)
            if isinstance(told, Exception):
                raise told
        if isinstance(marked, Exception):
            await self._mark_with_room_made(session)

    async def _mark_with_room_made(self, session: SessionId) -> None:
        """Remember a revocation on a full server: the session's setups go first, nobody may open them any more."""
        known = slot_key("epochs", session.hex)
        with translated():
            epochs = [int(epoch) for epoch in await cast(Any, self._redis.smembers(known))]
            await self._redis.delete(known, *(slot_key("setup", session.hex, epoch) for epoch in epochs))
            try:
                await self._redis.set(slot_key("revoked", session.hex), b"1", ex=DAY_S)
            except ResponseError:
                raise UnmarkedError("Redis has no room to remember a revocation") from None

    async def is_revoked(self, session: SessionId) -> bool:
        """Say whether the session was revoked within the last day."""
        with translated():
            return bool(await self._redis.exists(slot_key("revoked", session.hex)))

    async def put_in_force(self, session: SessionId, *, receipt_sha256: str, ordinal: int) -> bool:
        """Say which receipt is in force, unless a later one is."""
        values = (ordinal, receipt_sha256, REVOCATION_CHANNEL, session.hex)
        with translated():
            answer = await cast(
                Any, self._redis.eval(_PUT_IN_FORCE, 1, slot_key("receipt", session.hex), *values)
            )
        return bool(answer)

    async def receipt_in_force(self, session: SessionId) -> str | None:
        """Return the hex digest of the receipt in force, None where nothing is known."""
        with translated():
            held: Any = await self._redis.get(slot_key("receipt", session.hex))
        return str(held.partition(b":")[2].decode("ascii")) if held else None

    async def revocations(self) -> AsyncIterator[SessionId | Superseded | None]:
        """Yield revoked and superseded sessions until cancelled; None after each (re)connect."""
        async for message in _messages(self._redis, REVOCATION_CHANNEL):
            if message is None:
                yield None
                continue
            try:
                name, _, digest = message.decode("ascii").partition(":")
                session = SessionId(UUID(name))
            except ValueError:
                continue
            yield Superseded(session=session, receipt_sha256=digest) if digest else session


T = TypeVar("T")


class RedisAckFeed:
    """Durable acks from the channel `acks`, refusals from `refusals`; see the port."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def acks(self) -> AsyncIterator[DurableAck]:
        """Yield acks until cancelled; reconnects by itself."""
        async for ack in self._batches(ACK_CHANNEL, DurableAck):
            yield ack

    async def refusals(self) -> AsyncIterator[CropRefusals]:
        """Yield refusals until cancelled; reconnects by itself."""
        async for refused in self._batches(REFUSAL_CHANNEL, CropRefusals):
            yield refused

    async def _batches(self, channel: str, kind: type[T]) -> AsyncIterator[T]:
        decoder = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        async for message in _messages(self._redis, channel):
            if message is None:
                continue
            try:
                batch = decoder.decode(message)
            except msgspec.MsgspecError:
                continue
            for one in batch:
                yield one


async def _messages(redis: Redis, channel: str) -> AsyncIterator[bytes | None]:
    """Yield a channel's messages for ever, None after each (re)connect."""
    wait_s = 0.05
    while True:
        try:
            async with redis.pubsub() as subscription:
                await subscription.subscribe(channel)
                wait_s = 0.05
                while True:
                    message = await subscription.get_message(timeout=2.0)
                    if message is None:
                        await subscription.ping()
                    elif message["type"] == "subscribe":
                        yield None
                    elif message["type"] == "message":
                        yield message["data"]
        except (RedisError, OSError):
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RECONNECT_MAX_S)
