"""Session setups, fences, revocations and durable acks on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cloud.adapters.redis_connection import slot_key, translated
from cloud.adapters.redis_streams import ACK_CHANNEL, REFUSAL_CHANNEL
from cloud.ports.streams import CropRefusals, DurableAck
from privacy.errors import MessageError
from privacy.ids import SessionId
from privacy.wire.codec import decode_setup, encode_setup
from privacy.wire.messages import SessionSetup

REVOCATION_CHANNEL = "revocations"
DAY_S = 86_400
RECONNECT_MAX_S = 1.0
"""Longest wait before a subscription is tried again: a revocation must act within a second or so."""

_CLAIM = """
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
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


class RedisSetupStore:
    """Setups on `setup:{session}:epoch`, fences on `owner:{session}`, what there is on `epochs:{session}`."""

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
        )
        values = (setup.epoch, owner, encode_setup(setup), ttl_ms)
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
            await self._redis.delete(slot_key("owner", session.hex), known, *keys)

    async def count(self, session: SessionId) -> int:
        """Count what is kept of a session: its setups, and its fence as one."""
        with translated():
            epochs = await cast(Any, self._redis.smembers(slot_key("epochs", session.hex)))
            keys = [slot_key("setup", session.hex, int(epoch)) for epoch in epochs]
            return int(await self._redis.exists(slot_key("owner", session.hex), *keys))


class RedisRevocations:
    """Revocations on `revoked:{session}` and the channel `revocations`; see the port."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def revoke(self, session: SessionId) -> None:
        """Mark the session revoked for a day and tell every listener."""
        with translated():
            await self._redis.set(slot_key("revoked", session.hex), b"1", ex=DAY_S)
            await self._redis.publish(REVOCATION_CHANNEL, session.hex)

    async def is_revoked(self, session: SessionId) -> bool:
        """Say whether the session was revoked within the last day."""
        with translated():
            return bool(await self._redis.exists(slot_key("revoked", session.hex)))

    async def revocations(self) -> AsyncIterator[SessionId | None]:
        """Yield revoked sessions until cancelled; None after each (re)connect."""
        async for message in _messages(self._redis, REVOCATION_CHANNEL):
            if message is None:
                yield None
                continue
            try:
                yield SessionId(UUID(message.decode("ascii")))
            except ValueError:
                continue


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
