from edge_agent.session.summary import RunSummary, refusal_words, status_line


def summary(*, sent: int = 90, acked: int = 0, refused: dict[str, int] | None = None) -> RunSummary:
    return RunSummary(
        session="s",
        frames_captured=90,
        frames_with_face=90,
        frames_sent=sent,
        frames_acked=acked,
        skipped={},
        second_face_frames=0,
        second_face_intervals=0,
        duration_s=3.0,
        fps=30.0,
        latency_ms={},
        send_age_ms={},
        detector="int8",
        detector_id=1,
        inferences=1,
        agent_core_share=0.1,
        capture_core_share=0.1,
        vision_core_share=0.1,
        rss_mb=1.0,
        rss_max_mb=1.0,
        envelope_max_bytes=1,
        refused=refused or {},
    )


def test_a_run_of_which_nothing_was_stored_says_what_refused_it() -> None:
    words = refusal_words(summary(refused={"stale": 2, "content": 104}))
    assert words is not None
    assert "nothing was stored" in words and "content 104, stale 2" in words


def test_a_run_that_stored_something_or_was_refused_nothing_says_nothing_of_it() -> None:
    assert refusal_words(summary(acked=1, refused={"stale": 2})) is None
    assert refusal_words(summary()) is None
    assert refusal_words(summary(sent=0, refused={"malformed": 1})) is None


def test_the_status_line_shows_what_is_refused_while_it_happens() -> None:
    figures = {"captured": 9, "with_face": 9, "sent": 9, "acked": 0, "fps": 30.0, "skipped": {"dark": 1}}
    assert "REFUSED: content 9" in status_line(**figures, connected=True, refused={"content": 9})
    assert "REFUSED" not in status_line(**figures, connected=True, refused={})


def test_the_summary_that_is_written_holds_the_refusals() -> None:
    assert '"refused": {\n    "content": 1\n  }' in summary(refused={"content": 1}).to_json()
