"""The command `countenance-agent`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from edge_agent.errors import AgentError, ConsentMissingError, RevokedError, SettingError
from edge_agent.invite import Invite, parse_invite
from privacy.redaction import redact_event

if TYPE_CHECKING:
    from edge_agent.tracking.search import FaceSearch

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_NO_CONSENT, EXIT_REVOKED = 0, 1, 2, 3, 4

_EXAMPLES = """\
examples:
  countenance-agent consent  --invite 'https://studio.example/v1/join#...'
  countenance-agent run      --invite 'https://studio.example/v1/join#...' --camera 0
  countenance-agent run      --invite 'http://127.0.0.1:8000/v1/join#...' --camera clip.mp4 --loop --duration 60
  countenance-agent withdraw --invite 'https://studio.example/v1/join#...'
  countenance-agent doctor   --json
  countenance-agent preview  portrait.jpg --out out/preview

exit status: 0 done, 1 error, 2 wrong usage, 3 no valid consent, 4 ended by the other side
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    _set_up_logging()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may hold what this terminal cannot print, or what is no text at all.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(_with_names(sys.argv[1:] if argv is None else argv))
    try:
        status: int = arguments.command(arguments)
    except ConsentMissingError as error:
        return _fail(error, EXIT_NO_CONSENT)
    except RevokedError as error:
        return _fail(error, EXIT_REVOKED)
    except SettingError as error:
        return _fail(error, EXIT_USAGE)
    except AgentError as error:
        return _fail(error, EXIT_ERROR)
    except KeyboardInterrupt:
        return EXIT_OK
    return status


def _with_names(argv: Sequence[str]) -> list[str]:
    """Let `--camera` take a file whose name begins with a dash, which would be read as an option."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] == "--camera" and word.startswith("-") and os.path.lexists(word):
            joined[-1] = f"--camera={word}"
        else:
            joined.append(word)
    return joined


def _consent(arguments: argparse.Namespace) -> int:
    from edge_agent.consent.consenting import parse_expressions, parse_purposes
    from edge_agent.consent.credential_store import CredentialStore
    from edge_agent.consent.dialogue import GivenAnswers, give_consent

    unattended = arguments.accept is not None
    given = GivenAnswers(
        purposes=parse_purposes(_names(arguments.accept)) if unattended else None,
        opted_out=parse_expressions(_names(arguments.opt_out or ""))
        if unattended or arguments.opt_out
        else None,
        is_adult=True if arguments.adult else (False if unattended else None),
    )
    claims = give_consent(
        _invite(arguments),
        store=CredentialStore(arguments.home),
        locale=arguments.locale,
        given=given,
        ask=_ask,
        show=print,
    )
    agreed = ", ".join(purpose.value for purpose in sorted(claims.purposes))
    print(f"Consent is recorded: {agreed}. Receipt {claims.receipt_id}.")
    print("Withdraw at any time, also while watching: countenance-agent withdraw --invite ...")
    return EXIT_OK


def _ask(question: str) -> str:
    try:
        return input(question)
    except EOFError:
        raise ConsentMissingError(
            "There is nobody at a terminal to ask. Say yes with --accept and --adult, or start this from a terminal."
        ) from None


def _run(arguments: argparse.Namespace) -> int:
    from edge_agent.config import RunSettings

    settings = RunSettings(
        invite=_invite(arguments),
        camera=arguments.camera,
        home=arguments.home,
        loop=arguments.loop,
        fps=arguments.fps,
        duration_s=arguments.duration,
        detector=arguments.detector,
        ice_servers=tuple(arguments.ice_server),
        camera_delay_ms=arguments.camera_delay_ms,
        summary=arguments.summary,
        is_quiet=arguments.quiet,
    )
    from edge_agent.app import RunResult, run_agent
    from edge_agent.session.summary import refusal_words

    async def until_stopped() -> RunResult:
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, ValueError):
                asyncio.get_running_loop().add_signal_handler(name, stop.set)
        return await run_agent(settings, stop=stop, show_status=_status_line(settings.is_quiet))

    with _loop_runner() as runner:
        result = runner.run(until_stopped())
    text = result.summary.to_json()
    if settings.summary is None:
        print(text, end="")
    else:
        _write(settings.summary, text.encode())
    refused = refusal_words(result.summary)
    if refused is not None:
        print(f"\n{refused}", file=sys.stderr)
    if result.error is not None:
        raise result.error
    if not settings.is_quiet:
        print(f"\n{result.summary.exit_reason}", file=sys.stderr)
    return EXIT_OK


def _status_line(is_quiet: bool) -> Callable[[str], None]:
    if is_quiet:
        return lambda _text: None
    end = "" if sys.stderr.isatty() else "\n"
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    return lambda text: print(f"{start}{text}", end=end, file=sys.stderr, flush=True)


def _withdraw(arguments: argparse.Namespace) -> int:
    from edge_agent.consent.api_client import ApiClient
    from edge_agent.consent.credential_store import CredentialStore
    from edge_agent.consent.withdrawal import WAIT_S, withdraw

    invite = _invite(arguments)
    deletion = withdraw(
        invite,
        api=ApiClient(invite),
        store=CredentialStore(arguments.home),
        wait_s=0.0 if arguments.no_wait else WAIT_S,
    )
    print("Consent is withdrawn. Capture stops, and your data is being deleted.")
    if deletion is None:
        print("The deletion goes on; run this again to fetch its signed receipt.")
        return EXIT_OK
    print("Everything of this session is deleted: none of it was found in any store afterwards.")
    print(f"The signed receipt verifies; it is kept at {deletion.kept_at}")
    return EXIT_OK


def _doctor(arguments: argparse.Namespace) -> int:
    from edge_agent.doctor import examine, report

    invite = _invite(arguments) if arguments.invite else None
    findings = examine(camera=arguments.camera, home=arguments.home, invite=invite)
    print(report(findings, as_json=arguments.json))
    return EXIT_OK if all(finding.is_good for finding in findings) else EXIT_ERROR


def _preview(arguments: argparse.Namespace) -> int:
    from edge_agent.rehearsal import decode_picture, look_at_picture

    search, _ = _face_search(arguments)
    for path in arguments.pictures:
        outcome = look_at_picture(search, decode_picture(_read(path)))
        if outcome.crop is None:
            print(f"{path}: nothing would leave this machine ({outcome.skip})")
            continue
        found = f"{path}: {len(outcome.crop.content)} bytes as {outcome.crop.step.name} would leave, sealed"
        if arguments.out is not None:
            # never the picture's own name: `--out` may be the folder that it lies in
            shown = arguments.out / f"{path.name}.crop.jpg"
            _write(shown, outcome.crop.content)
            found += f"; they show {shown}"
        print(found)
    return EXIT_OK


def _rehearse(arguments: argparse.Namespace) -> int:
    from edge_agent.clocks import utc_us
    from edge_agent.rehearsal import Rehearsal, rehearse

    search, detector_id = _face_search(arguments)
    rehearsal = Rehearsal(search, detector_id=detector_id, utc_us=utc_us)
    for line in rehearse(rehearsal, sys.stdin.buffer):
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    return EXIT_OK


def _bench_films(arguments: argparse.Namespace) -> int:
    import json

    from edge_agent.bench.speed import measure_films, report

    measured = measure_films(arguments.films, detector=arguments.detector, frames=arguments.frames)
    print(json.dumps(measured, indent=2) if arguments.json else report(measured))
    return EXIT_OK


def _face_search(arguments: argparse.Namespace) -> tuple[FaceSearch, int]:
    from edge_agent.consent.credential_store import CredentialStore
    from edge_agent.tracking.detector_selection import detector_manifest, load_selected, select_detector
    from edge_agent.tracking.search import FaceSearch

    manifest = detector_manifest()
    choice = select_detector(arguments.detector, CredentialStore(arguments.home).home, manifest)
    network = load_selected(choice, manifest)
    return FaceSearch(network), network.detector_id


def _bench_fallbacks(arguments: argparse.Namespace) -> int:
    from edge_agent.bench.fallbacks import measure_fallbacks, write_figures

    if arguments.every < 1:
        raise SettingError("--every must be at least 1")
    figures = measure_fallbacks(arguments.data, variant=arguments.detector, every=arguments.every)
    write_figures(arguments.out, figures)
    for name, value in figures["headline"].items():
        print(f"{name:32s} {value}")
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="countenance-agent",
        description="Reads your expression while you watch, only with your consent; faces leave sealed or not at all.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_watching(commands)
    _add_trying(commands)
    _add_measuring(commands)
    return parser


def _add_watching(commands: Any) -> None:
    consent = _command(commands, "consent", _consent, "show the notice and give consent")
    consent.add_argument(
        "--accept", metavar="PURPOSES", help="agree without questions: capture,cloud_scoring[,...]"
    )
    consent.add_argument(
        "--opt-out", metavar="EXPRESSIONS", help="expressions never to be reported: sad,angry"
    )
    consent.add_argument("--adult", action="store_true", help="declare to be of age")
    consent.add_argument("--locale", help="language of the notice, such as en or de")
    run = _command(commands, "run", _run, "watch: camera to sealed faces")
    run.add_argument(
        "--camera",
        required=True,
        metavar="0|FILE",
        help="a video file, or a device's number where no file has that name",
    )
    run.add_argument("--loop", action="store_true", help="play a file again and again")
    run.add_argument(
        "--fps",
        type=float,
        help="frames a second, 1..60: to ask a camera for, or to take from a file at most (default: the source's own; a file plays at its own speed and gives at most 30)",
    )
    run.add_argument("--duration", type=float, metavar="S", help="end after S seconds")
    run.add_argument("--detector", default="auto", help="auto (measured once), int8 or float32")
    run.add_argument("--ice-server", action="append", default=[], metavar="URL", help="STUN or TURN server")
    run.add_argument("--camera-delay-ms", type=int, default=0, metavar="MS", help="light to frame, 0..500")
    run.add_argument("--summary", type=Path, metavar="FILE", help="write the run's figures as JSON")
    run.add_argument("--quiet", action="store_true", help="no live status line")
    withdraw = _command(
        commands, "withdraw", _withdraw, "withdraw consent; stops a running session within a second"
    )
    withdraw.add_argument(
        "--no-wait", action="store_true", help="do not wait for the signed receipt of the deletion"
    )
    doctor = _command(commands, "doctor", _doctor, "check camera, detector and consent", needs_invite=False)
    doctor.add_argument(
        "--camera", metavar="0|FILE", help="also open this camera (needs --invite and consent)"
    )
    doctor.add_argument("--json", action="store_true", help="machine-readable")


def _add_trying(commands: Any) -> None:
    preview = _command(
        commands, "preview", _preview, "show which part of a picture would leave, sealed", needs_invite=False
    )
    preview.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="picture files")
    preview.add_argument("--out", type=Path, metavar="DIR", help="where the crops go, to be looked at")
    rehearse = _command(
        commands,
        "rehearse",
        _rehearse,
        "seal pictures that a program sends on standard input",
        needs_invite=False,
    )
    for command in (preview, rehearse):
        command.add_argument("--detector", default="int8", help="auto, int8 or float32 (default: int8)")


def _add_measuring(commands: Any) -> None:
    bench = commands.add_parser(
        "bench-fallbacks",
        help="measure what looking again recovers",
        description="Spoil labelled pictures, search them without and with each fallback; watch films without a face.",
        epilog="example:\n  countenance-agent bench-fallbacks --data ../data --out out/fallbacks.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    bench.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON file for the figures")
    bench.add_argument("--detector", default="int8", help="int8 or float32")
    bench.add_argument("--every", type=int, default=1, metavar="N", help="take one picture of N")
    bench.set_defaults(command=_bench_fallbacks)
    films = commands.add_parser(
        "bench-films",
        help="time what each frame of a film costs",
        description="Play films to the agent's pipeline and time it; opens no camera, sends nothing.",
        epilog="example:\n  countenance-agent bench-films film.mp4 other.mkv --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    films.add_argument("films", nargs="+", type=Path, metavar="FILM", help="video files")
    films.add_argument("--frames", type=int, default=300, help="most frames of each film (default: 300)")
    films.add_argument("--detector", default="int8", help="variant: int8 or float32 (default: int8)")
    films.add_argument("--json", action="store_true", help="machine-readable")
    films.set_defaults(command=_bench_films)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: Callable[[argparse.Namespace], int],
    text: str,
    *,
    needs_invite: bool = True,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--invite", required=needs_invite, metavar="URL", help="the invitation link, in quotes"
    )
    command.add_argument("--home", type=Path, metavar="DIR", help="where receipt and device key are kept")
    command.set_defaults(command=function)
    return command


def _invite(arguments: argparse.Namespace) -> Invite:
    return parse_invite(arguments.invite)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name.strip()]


def _loop_runner() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        # Not on Windows, and not needed: it only makes sending cheaper.
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _set_up_logging() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact_event,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    logging.getLogger("aioice").setLevel(logging.ERROR)
    logging.getLogger("aiortc").setLevel(logging.ERROR)


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise SettingError(f"{path} cannot be written: {error.strerror}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from None


def _fail(error: AgentError, status: int) -> int:
    print(f"\ncountenance-agent: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
