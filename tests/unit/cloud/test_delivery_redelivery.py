from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.outbox import REPEAT_US, TAKE_MAX_EVENTS, EventOutbox
from cloud.streams.ports import DELIVERIES_MAX, Append, Delivery, EntryKind
from cloud.streams.redelivery import BACKOFF_MAX_MS, backoff_ms, triage


def delivery(times: int) -> Delivery:
    return Delivery(shard=0, entry_id=f"{times}-0", kind=EntryKind.CROPS, payload=b"x", deliveries=times)


def event(number: int) -> Append:
    return Append(shard=0, kind=EntryKind.EVENT, payload=str(number).encode())


def test_an_entry_is_tried_three_times_and_then_given_up() -> None:
    found = triage([delivery(times) for times in range(1, 6)])
    assert [d.deliveries for d in found.work] == list(range(1, DELIVERIES_MAX + 1))
    assert [letter.delivery.deliveries for letter in found.dead] == [4, 5]


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_but_stay_within_a_second(attempt: int, jitter: float) -> None:
    wait_ms = backoff_ms(attempt, jitter=jitter)
    assert 25 <= wait_ms <= BACKOFF_MAX_MS
    assert wait_ms <= backoff_ms(attempt + 1, jitter=jitter)


def test_events_leave_in_order_and_come_back_in_order() -> None:
    outbox = EventOutbox()
    for number in range(TAKE_MAX_EVENTS + 5):
        outbox.add(event(number))
    taken = outbox.take()
    assert taken == [event(number) for number in range(TAKE_MAX_EVENTS)]
    outbox.put_back(taken)
    assert outbox.take() == taken
    assert outbox.take() == [event(TAKE_MAX_EVENTS + number) for number in range(5)]


def test_a_full_outbox_gives_up_its_oldest_events_and_counts_them() -> None:
    outbox = EventOutbox(max_events=2)
    for number in range(3):
        outbox.add(event(number))
    taken = outbox.take()
    outbox.add(event(3))
    outbox.put_back(taken)
    assert outbox.take() == [event(2), event(3)]
    assert outbox.dropped == 2


def test_written_events_of_ten_seconds_are_repeated_in_order_before_what_waits() -> None:
    outbox = EventOutbox()
    for number, at_us in enumerate((0, 1, REPEAT_US + 1)):
        outbox.written([event(number)], now_us=at_us)
    outbox.add(event(3))
    assert outbox.repeat() == 2
    assert outbox.take() == [event(1), event(2), event(3)]
    assert outbox.repeat() == 0


def test_repeating_keeps_within_the_bound() -> None:
    outbox = EventOutbox(max_events=2)
    outbox.written([event(number) for number in range(3)], now_us=0)
    outbox.add(event(3))
    assert outbox.repeat() == 2
    assert outbox.take() == [event(2), event(3)]
