from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.web.connections import Admission, ConnectionLimits, ConnectionTable, Standing

LIMITS = ConnectionLimits(total=4, per_source=2, reserved=2)


def table_with(*connections: tuple[str, str, Standing]) -> ConnectionTable:
    table = ConnectionTable(LIMITS)
    for name, source, standing in connections:
        assert table.admit(name, source) == Admission()
        table.stands(name, standing)
    return table


def test_a_source_that_has_its_share_loses_its_own_oldest_waiting_connection() -> None:
    table = table_with(
        ("a", "x", Standing.ANSWERING), ("b", "x", Standing.WAITING), ("c", "y", Standing.WAITING)
    )
    assert table.admit("d", "x") == Admission(closed="b")
    assert len(table) == 3


def test_a_full_server_closes_the_oldest_waiting_connection_of_whoever_has_most() -> None:
    table = table_with(
        ("a", "y", Standing.WAITING),
        ("b", "x", Standing.WAITING),
        ("c", "x", Standing.WAITING),
        ("d", "z", Standing.WAITING),
    )
    assert table.admit("e", "w") == Admission(closed="b")


def test_what_is_being_answered_is_never_closed_and_what_stalls_goes_when_none_waits() -> None:
    table = table_with(
        ("a", "x", Standing.ANSWERING),
        ("b", "x", Standing.STALLED),
        ("c", "y", Standing.ANSWERING),
        ("d", "y", Standing.ANSWERING),
    )
    assert table.admit("e", "z") == Admission(closed="b")


def test_where_everything_is_being_answered_newcomers_get_the_reserved_places() -> None:
    table = table_with(*((name, source, Standing.ANSWERING) for name, source in ("ax", "bx", "cy", "dy")))
    assert table.admit("e", "x") == Admission(is_reserved=True)
    assert table.admit("f", "z") == Admission(is_reserved=True)
    table.stands("e", Standing.ANSWERING)
    assert table.admit("g", "z") == Admission(is_reserved=True, closed="f")
    table.stands("g", Standing.ANSWERING)
    assert table.admit("h", "z") == Admission(is_admitted=False)
    table.forget("a")
    assert table.admit("i", "z") == Admission()


def test_whoever_begins_to_wait_again_is_the_youngest() -> None:
    table = table_with(("a", "x", Standing.WAITING), ("b", "x", Standing.WAITING))
    table.stands("a", Standing.ANSWERING)
    table.stands("a", Standing.WAITING)
    assert table.admit("c", "x") == Admission(closed="b")


def test_a_connection_that_is_not_known_is_no_error() -> None:
    table = ConnectionTable(LIMITS)
    table.stands("a", Standing.STALLED)
    table.forget("a")
    assert len(table) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["admit", "forget", *Standing]), st.integers(0, 9), st.sampled_from("xyz"))
    )
)
def test_the_limits_hold_and_a_newcomer_is_let_in_while_anybody_waits(
    steps: list[tuple[str | Standing, int, str]],
) -> None:
    table = ConnectionTable(LIMITS)
    known: dict[int, Standing] = {}
    for step, connection, source in steps:
        if isinstance(step, Standing):
            table.stands(connection, step)
            if connection in known:
                known[connection] = step
        elif step == "forget":
            table.forget(connection)
            known.pop(connection, None)
        elif connection not in known:
            answering = all(standing is Standing.ANSWERING for standing in known.values())
            admission = table.admit(connection, source)
            if admission.closed is not None:
                assert known.pop(admission.closed) is not Standing.ANSWERING  # type: ignore[call-overload]
            if admission.is_admitted:
                known[connection] = Standing.WAITING
            else:
                assert answering or len(known) >= LIMITS.reserved
        assert len(table) == len(known) <= LIMITS.total + LIMITS.reserved
