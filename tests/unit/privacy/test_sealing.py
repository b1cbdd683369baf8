"""A nonce is never used twice, and an epoch ends."""

from __future__ import annotations

import copy
import os
import pickle

import pytest

from privacy.crypto.sealing import SessionSealer
from privacy.errors import SealingError
from privacy.protocol import limits
from privacy.protocol.payload import max_content_bytes
from tests.unit.privacy.worlds import NOW_UTC_US, World, seal


def test_a_sealer_can_be_neither_copied_nor_pickled(world: World) -> None:
    sealer = world.start()
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            duplicate(sealer)


def test_a_forked_child_cannot_seal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sealer = world.start()
    seal(sealer)
    child_pid = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child_pid)
    with pytest.raises(SealingError, match="fork"):
        seal(sealer)


def test_each_start_has_its_own_keys_and_counts_from_zero(world: World) -> None:
    first, second = world.start(), world.start()
    assert first._keys.key != second._keys.key
    assert first._keys.salt != second._keys.salt
    assert first.setup.encapsulated != second.setup.encapsulated


def test_an_epoch_ends_with_its_time(world: World) -> None:
    sealer = world.start()
    end = sealer.setup.not_after_utc_us
    assert not sealer.needs_new_epoch(NOW_UTC_US)
    assert sealer.needs_new_epoch(end - 30_000_000)
    seal(sealer, now_utc_us=end - 1)
    with pytest.raises(SealingError, match="over"):
        seal(sealer, now_utc_us=end)


def test_an_epoch_ends_with_its_frames(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EPOCH_MAX_FRAMES", 3)
    sealer = world.start()
    for _ in range(3):
        seal(sealer)
    assert sealer.needs_new_epoch(NOW_UTC_US)
    with pytest.raises(SealingError, match="over"):
        seal(sealer)


def test_a_failed_seal_burns_its_counter(world: World) -> None:
    sealer = world.start()
    with pytest.raises(SealingError):
        seal(sealer, content=bytes(max_content_bytes() + 1))
    with pytest.raises(SealingError):
        seal(sealer, frame=1 << 32)
    from privacy.protocol.envelope import decode_envelope

    assert decode_envelope(seal(sealer))[0].counter == 2
    assert sealer.sealed_frames == 1


@pytest.mark.parametrize("epoch", [0, -1, 1 << 32])
def test_an_epoch_out_of_range_is_refused(world: World, epoch: int) -> None:
    with pytest.raises(SealingError, match="range"):
        world.start(epoch=epoch)


def test_an_epoch_cannot_outlive_the_pool_key(world: World) -> None:
    with pytest.raises(SealingError, match="outlive"):
        world.start(not_after_utc_us=world.pool.public.not_after_utc_us + 1)


def test_no_nonce_repeats_over_forks_and_restarts(world: World) -> None:
    """Real children: whatever they inherit, they produce no envelope under the parent's key."""
    sealer = world.start()
    seal(sealer)
    read_end, write_end = os.pipe()
    child = _fork_and_try(sealer, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert pipe.read() == b"refused"
    assert os.waitpid(child, 0)[1] == 0


def _fork_and_try(sealer: SessionSealer, write_end: int) -> int:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    try:
        seal(sealer)
        os.write(write_end, b"sealed")
    except SealingError:
        os.write(write_end, b"refused")
    finally:
        os._exit(0)
