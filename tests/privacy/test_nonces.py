"""No (key, nonce) pair repeats over a million seals, with restarts."""

from __future__ import annotations

import pytest

from privacy.crypto.keys import FRAME_SALT_BYTES, derive_frame_keys
from privacy.protocol import limits
from tests.unit.privacy.worlds import make_world, seal


@pytest.mark.slow
def test_no_key_and_nonce_repeat_over_a_million_frames_in_many_epochs() -> None:
    """Counters come from the sealer itself for a sample, and are walked whole for the rest."""
    world = make_world()
    pairs = 0
    keys = set()
    for epoch in range(1, 9):
        sealer = world.start(epoch=epoch)
        counters = [int.from_bytes(seal(sealer)[24:32], "big") for _ in range(1_000)]
        assert counters == list(range(1_000))
        nonces = {sealer._keys.nonce(counter) for counter in range(limits.EPOCH_MAX_FRAMES // 8)}
        assert len(nonces) == limits.EPOCH_MAX_FRAMES // 8
        assert {len(nonce) for nonce in nonces} == {FRAME_SALT_BYTES}
        keys.add(sealer._keys.key)
        pairs += len(nonces)
    assert len(keys) == 8
    assert pairs >= 1_000_000


def test_the_largest_counter_still_differs_from_every_other_in_its_nonce() -> None:
    keys = derive_frame_keys(bytes(32), b"")
    last = keys.nonce(limits.EPOCH_MAX_FRAMES - 1)
    assert all(keys.nonce(counter) != last for counter in range(0, limits.EPOCH_MAX_FRAMES - 1, 997))
