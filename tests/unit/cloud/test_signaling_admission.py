import msgspec
import pytest

from cloud.errors import AdmissionError
from cloud.signaling.admission import SessionState, check_offer, check_state
from privacy.protocol import limits
from privacy.protocol.messages import MINOR, Offer
from tests.fixtures_street import Platform, Viewer, utc_us


@pytest.fixture
def viewer() -> Viewer:
    return Viewer(Platform())


def check(viewer: Viewer, *, now_utc_us: int | None = None, **changes):
    setup = changes.pop("setup", None) or viewer.sealer().setup
    offer = Offer(
        ticket=changes.pop("ticket", viewer.ticket()), sdp="v=0", setup=setup, minor=changes.pop("minor", 0)
    )
    return check_offer(offer, platform_key=viewer.platform.public_key, now_utc_us=now_utc_us or utc_us())


def state(**changes) -> SessionState:
    known = {"revoked": False, "fenced_epoch": 0, "served_here": False, "live_sessions": 0, "max_sessions": 2}
    return SessionState(**(known | changes))


def test_an_offer_that_proves_itself_names_its_session_and_its_end(viewer: Viewer) -> None:
    setup = viewer.sealer(epoch=3).setup
    admitted = check(viewer, setup=setup)
    assert (admitted.session, admitted.tenant, admitted.epoch) == (viewer.session, viewer.tenant, 3)
    assert admitted.setup == setup
    assert admitted.until_utc_us == setup.not_after_utc_us


@pytest.mark.parametrize(("offered", "spoken"), [(0, 0), (1, 1), (MINOR + 1, MINOR), (65_535, MINOR)])
def test_the_lower_minor_version_is_spoken(viewer: Viewer, offered: int, spoken: int) -> None:
    assert check(viewer, minor=offered).minor == spoken


def test_a_session_ends_with_its_receipt_where_that_is_first() -> None:
    viewer = Viewer(Platform(), expires_in_us=20_000_000)
    assert check(viewer).until_utc_us < utc_us() + 20_000_001


@pytest.mark.parametrize(
    "field", ["session", "tenant", "device_public_key", "encapsulated", "receipt", "epoch"]
)
def test_no_field_of_a_setup_can_be_exchanged_for_anothers(viewer: Viewer, field: str) -> None:
    other = Viewer(viewer.platform, tenant=Viewer(viewer.platform).session).sealer(epoch=9).setup
    swapped = msgspec.structs.replace(viewer.sealer().setup, **{field: getattr(other, field)})
    with pytest.raises(AdmissionError) as refused:
        check(viewer, setup=swapped)
    assert refused.value.code in (403, 422)


def test_a_ticket_does_not_outlive_its_time(viewer: Viewer) -> None:
    ticket = viewer.ticket(expires_in_us=1_000_000)
    assert check(viewer, ticket=ticket).session == viewer.session
    with pytest.raises(AdmissionError) as refused:
        check(viewer, ticket=ticket, now_utc_us=utc_us() + 1_000_001)
    assert refused.value.code == 401


def test_an_epoch_may_last_ten_minutes_and_the_agents_clock_be_off_by_one(viewer: Viewer) -> None:
    ten_us = limits.EPOCH_MAX_S * 1_000_000
    assert check(viewer, setup=viewer.sealer(lifetime_us=ten_us + 50_000_000).setup)
    with pytest.raises(AdmissionError):
        check(viewer, setup=viewer.sealer(lifetime_us=ten_us + 70_000_000).setup)


@pytest.mark.parametrize(
    ("known", "code"),
    [
        ({}, 0),
        ({"revoked": True}, 410),
        ({"fenced_epoch": 4}, 0),
        ({"fenced_epoch": 5}, 409),
        ({"fenced_epoch": 6}, 409),
        ({"live_sessions": 1}, 0),
        ({"live_sessions": 2}, 503),
        ({"live_sessions": 2, "served_here": True}, 0),
    ],
)
def test_what_is_known_of_a_session_decides_whether_it_may_begin(
    viewer: Viewer, known: dict, code: int
) -> None:
    admitted = check(viewer, setup=viewer.sealer(epoch=5).setup)
    try:
        check_state(admitted, state(**known), jitter=0.5)
        got = 0
    except AdmissionError as refused:
        got = refused.code
    assert got == code


def test_agents_are_sent_away_for_different_times(viewer: Viewer) -> None:
    waits = []
    for jitter in (0.0, 0.5, 0.999):
        with pytest.raises(AdmissionError) as refused:
            check_state(check(viewer), state(max_sessions=0), jitter=jitter)
        waits.append(refused.value.retry_after_ms)
    assert waits == sorted(set(waits))
    assert waits[0] >= 2_000
