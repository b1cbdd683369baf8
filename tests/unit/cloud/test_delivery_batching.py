from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.batching import BATCH_WAIT_US, CropBatcher
from cloud.streams.entries import CROP_BATCH_MAX, CROP_BATCH_MAX_BYTES, SealedCrop, encode_crops
from privacy.protocol.ids import SessionId


def crop(number: int, size_bytes: int = 100) -> SealedCrop:
    return SealedCrop(
        late=False,
        received_utc_us=number,
        clock_offset_us=0,
        envelope=number.to_bytes(4, "big").ljust(size_bytes, b"e"),
    )


def busy(batcher: CropBatcher) -> CropBatcher:
    """A batcher that has seen a crop every millisecond, and is empty."""
    for number in range(-100, 0):
        batcher.add(0, crop(-number), now_us=number * 1_000)
    batcher.take(now_us=0)
    assert len(batcher) == 0
    return batcher


def test_a_lone_crop_goes_at_once() -> None:
    batcher = CropBatcher()
    for number in range(5):
        now_us = number * 33_000
        batcher.add(3, crop(number), now_us=now_us)
        assert batcher.due_us() == now_us
        (batch,) = batcher.take(now_us=now_us)
        assert (batch.shard, batch.since_us, batch.crops) == (3, now_us, (crop(number),))
    assert batcher.due_us() is None


def test_where_crops_come_often_one_waits_five_milliseconds_for_company() -> None:
    batcher = busy(CropBatcher())
    batcher.add(3, crop(1), now_us=1_000)
    batcher.add(3, crop(2), now_us=2_000)
    assert batcher.due_us() == 1_000 + BATCH_WAIT_US
    assert batcher.take(now_us=1_000 + BATCH_WAIT_US - 1) == []
    (batch,) = batcher.take(now_us=1_000 + BATCH_WAIT_US)
    assert batch.crops == (crop(1), crop(2))


def test_when_one_batch_is_due_every_shard_goes_with_it() -> None:
    batcher = busy(CropBatcher())
    batcher.add(0, crop(1), now_us=1_000)
    batcher.add(1, crop(2), now_us=5_500)
    assert [batch.shard for batch in batcher.take(now_us=1_000 + BATCH_WAIT_US)] == [0, 1]


def test_a_full_batch_is_due_at_once() -> None:
    batcher = busy(CropBatcher())
    for number in range(CROP_BATCH_MAX + 1):
        batcher.add(0, crop(number), now_us=10)
    due = batcher.due_us()
    assert due is not None and due <= 10
    assert [len(batch.crops) for batch in batcher.take(now_us=10)] == [CROP_BATCH_MAX, 1]


def test_a_full_queue_gives_up_its_oldest_crop_whatever_its_shard() -> None:
    batcher = CropBatcher(max_crops=3)
    for number, shard in enumerate((0, 1, 0, 1)):
        batcher.add(shard, crop(number), now_us=number)
    kept = [c for batch in batcher.take(now_us=10**6) for c in batch.crops]
    assert sorted(c.received_utc_us for c in kept) == [1, 2, 3]
    assert batcher.dropped == 1


def test_crops_older_than_two_seconds_are_given_up() -> None:
    batcher = CropBatcher()
    batcher.add(0, crop(1), now_us=0)
    batcher.add(0, crop(2), now_us=1_000_000)
    (batch,) = batcher.take(now_us=2_000_001)
    assert batch.crops == (crop(2),)
    assert batcher.dropped == 1


def test_a_batch_that_was_not_written_comes_back_first() -> None:
    batcher = CropBatcher()
    batcher.add(0, crop(1), now_us=0)
    batcher.add(0, crop(2), now_us=1)
    taken = batcher.take(now_us=BATCH_WAIT_US)
    assert len(batcher) == 0
    batcher.add(0, crop(3), now_us=BATCH_WAIT_US)
    batcher.put_back(taken)
    (batch,) = batcher.take(now_us=BATCH_WAIT_US)
    assert batch.crops == (crop(1), crop(2), crop(3))


def test_crops_of_a_withdrawn_session_are_discarded_also_from_a_batch_that_comes_back() -> None:
    def of(session: SessionId, number: int) -> SealedCrop:
        envelope = bytes(4) + session.bytes + number.to_bytes(4, "big")
        return SealedCrop(late=False, received_utc_us=number, clock_offset_us=0, envelope=envelope)

    gone, stays = SessionId(UUID(int=1)), SessionId(UUID(int=2))
    batcher = CropBatcher()
    batcher.add(0, of(gone, 1), now_us=0)
    batcher.add(0, of(stays, 2), now_us=1)
    being_written = batcher.take(now_us=BATCH_WAIT_US)
    batcher.add(0, of(gone, 3), now_us=BATCH_WAIT_US)
    batcher.discard(gone)
    assert len(batcher) == 0
    batcher.put_back(being_written)
    (batch,) = batcher.take(now_us=2 * BATCH_WAIT_US)
    assert batch.crops == (of(stays, 2),)
    assert len(batcher) == 0 and batcher.due_us() is None


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(1, 3_472),
            st.integers(0, 3_000),
            st.sampled_from(["add", "take", "fail"]),
        ),
        max_size=150,
    )
)
def test_batches_keep_to_their_bounds_and_no_crop_is_lost_uncounted_or_reordered(steps) -> None:
    batcher = CropBatcher(max_crops=64)
    now_us, added, written = 0, 0, []
    for shard, size_bytes, wait_us, action in steps:
        now_us += wait_us
        if action == "add":
            batcher.add(shard, crop(added, max(size_bytes, 4)), now_us=now_us)
            added += 1
            continue
        batches = batcher.take(now_us=now_us)
        for batch in batches:
            assert 0 < len(batch.crops) <= CROP_BATCH_MAX
            assert len(encode_crops(batch.crops)) <= CROP_BATCH_MAX_BYTES
        if action == "fail":
            batcher.put_back(batches)
        else:
            written += [(batch.shard, c.received_utc_us) for batch in batches for c in batch.crops]
        assert len(batcher) <= 64
    assert added == len(written) + len(batcher) + batcher.dropped
    for shard in range(4):
        numbers = [number for at, number in written if at == shard]
        assert numbers == sorted(numbers)
