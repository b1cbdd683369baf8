from cloud.ingest.refusal_report import COUNT_MAX, RefusalReport
from privacy.protocol.codec import decode_control_from_ingest, encode_message
from privacy.protocol.messages import REFUSAL_REASONS, Refusals


def test_counts_are_added_up_until_they_are_told_and_told_once() -> None:
    report = RefusalReport(minor=1)
    assert report.take() is None
    report.add({"malformed": 1})
    report.add({"malformed": 2, "content": 90})
    assert report.take() == Refusals(counts={"malformed": 3, "content": 90})
    assert report.take() is None


def test_an_agent_of_the_first_minor_version_is_told_nothing() -> None:
    report = RefusalReport(minor=0)
    report.add({"malformed": 1})
    assert report.take() is None


def test_only_what_has_a_name_on_the_wire_is_told() -> None:
    report = RefusalReport(minor=2)
    report.add({"malformed_control": 1, "content": 0})
    assert report.take() is None


def test_the_longest_message_fits_its_limit() -> None:
    report = RefusalReport(minor=1)
    for _ in range(2):
        report.add(dict.fromkeys(REFUSAL_REASONS, COUNT_MAX))
    message = report.take()
    assert message is not None
    assert decode_control_from_ingest(encode_message(message)) == message
