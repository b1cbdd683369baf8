"""The `countenance` command: every process of the platform, and everything of it on one machine."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cloud.config import (
    METRICS_PORTS,
    PREFIX,
    SETTINGS_OF,
    ClassifierEngine,
    Role,
    load_settings,
)
from cloud.errors import CloudError, ConfigError

Handler = Callable[[argparse.Namespace], int]

_EXAMPLES = """\
examples:
  countenance up                        everything on this machine, until Ctrl-C
  countenance demo --out out/demo       two made-up viewers watch a trailer; draws their timelines
  countenance init --state DIR          make the platform's keys
  countenance api                       one process alone; its settings come from COUNTENANCE_* variables

Each command explains itself: countenance COMMAND --help
"""

_ROLE_TEXT = {
    Role.API: "serve the REST API and the dashboard",
    Role.INGEST: "answer agents and take their sealed crops",
    Role.CLASSIFY: "open sealed crops, read the expression, forget the picture",
    Role.AGGREGATE: "merge scores into timelines",
    Role.LIFECYCLE: "seal, retain and erase what is stored",
}

_SETTING_TEXT = {
    "STATE_DIR": "directory with the platform's keys",
    "KEYS_DIR": "directory with the sessions' data keys (default: keys in the state directory)",
    "DATABASE_URL": "PostgreSQL as the application role; better in the environment, as it holds a password",
    "DATABASE_OWNER_URL": "PostgreSQL as the owner role; better in the environment",
    "REDIS_URL": "Redis without RDB and AOF; better in the environment",
    "API_BIND": "HOST:PORT to listen on (default: 127.0.0.1:8000)",
    "PUBLIC_URL": "how viewers reach the API (default: http:// and API_BIND)",
    "INGEST_BIND": "HOST:PORT of the signalling websocket (default: 127.0.0.1:8100)",
    "INGEST_URL": "how agents reach ingest (default: ws:// and INGEST_BIND)",
    "METRICS_BIND": "HOST:PORT of /healthz, /readyz and /metrics (default: 127.0.0.1:{metrics})",
    "SHARDS": "stream shards, 1 to 4096, the same in every process (default: 256)",
    "ICE_URLS": f"STUN and TURN servers, with commas between; TURN needs {PREFIX}TURN_SECRET (default: none)",
    "ALLOWED_ORIGINS": "pages that may be clients, by origin, with commas between (default: none)",
    "CLASSIFIER": "auto, litert or tensorflow (default: auto)",
    "MAX_SESSIONS": "live sessions to admit, 1 to 10000 (default: 40)",
    "CLOCK_CONFIRMED": "today's date, where the clock is right although it seems to have jumped",
    "CONTROLLER": "data controller named in notices and receipts",
    "LOG_LEVEL": "debug, info, warning or error (default: info)",
    "LOG_FORMAT": "json or console (default: json)",
}

_OPTIONS_OF = {
    Role.MIGRATE: (),
    Role.API: (
        "KEYS_DIR",
        "API_BIND",
        "METRICS_BIND",
        "PUBLIC_URL",
        "INGEST_URL",
        "ICE_URLS",
        "ALLOWED_ORIGINS",
        "SHARDS",
        "CONTROLLER",
    ),
    Role.INGEST: ("INGEST_BIND", "ICE_URLS", "ALLOWED_ORIGINS", "METRICS_BIND", "SHARDS", "MAX_SESSIONS"),
    Role.CLASSIFY: ("METRICS_BIND", "SHARDS", "CLASSIFIER"),
    Role.AGGREGATE: ("METRICS_BIND", "SHARDS"),
    Role.LIFECYCLE: ("KEYS_DIR", "CLOCK_CONFIRMED", "METRICS_BIND", "SHARDS"),
}

_ELSEWHERE = {
    "demo": (
        "cloud.demo.cli",
        "add_demo_command",
        "play a trailer to made-up viewers and draw their timelines",
    ),
    "bench": ("cloud.bench.cli", "add_bench_commands", "measure the street"),
    "rehearse": (
        "cloud.rehearsal.cli",
        "add_rehearse_command",
        "send still pictures down the street and show what arrives",
    ),
    "models": (
        "models.cli",
        "add_models_commands",
        "train, quantise, calibrate, measure and try the networks",
    ),
}
"""Commands that live in other modules: loaded only when they are asked for."""

DEFAULT_STATE = Path("~/.countenance")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; those of the process when None.

    Returns:
        0 for success, 1 for a failure, 2 for wrong usage or settings.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(asked_for=next((a for a in arguments if not a.startswith("-")), ""))
    try:
        parsed = parser.parse_args(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    handler: Handler | None = getattr(parsed, "handler", None)
    if handler is None:
        parser.print_help()
        return 2
    try:
        return handler(parsed)
    except ConfigError as error:
        print(f"countenance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_expected(error):
            raise
        print(f"countenance {parsed.command}: {error}", file=sys.stderr)
        return 1


def build_parser(*, asked_for: str = "") -> argparse.ArgumentParser:
    """Build the parser.

    Args:
        asked_for: the command that will be run; only its module is loaded.
    """
    parser = argparse.ArgumentParser(
        prog="countenance",
        description="Second-by-second audience expression timelines from sealed face crops.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_up(commands)
    _add_init(commands)
    _add_process(
        commands, Role.MIGRATE, "bring the database up to date", _migrate, example="countenance migrate"
    )
    for role, text in _ROLE_TEXT.items():
        _add_process(commands, role, text, _run_role, example=f"countenance {role}")
    for name, (module, function, text) in _ELSEWHERE.items():
        if name == asked_for and _exists(module):
            getattr(importlib.import_module(module), function)(commands)
        elif _exists(module):
            commands.add_parser(name, help=text, add_help=False)
    return parser


def _command(commands: Any, name: str, text: str, example: str, handler: Handler) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="examples:\n  " + example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def _add_process(commands: Any, role: Role, text: str, handler: Handler, *, example: str) -> None:
    environment = " ".join(f"{PREFIX}{name}=..." for name in sorted(SETTINGS_OF[role]))
    parser = _command(commands, str(role), text, f"{environment} \\\n    {example}", handler)
    for name in (*sorted(SETTINGS_OF[role]), *_OPTIONS_OF[role], "LOG_LEVEL", "LOG_FORMAT"):
        flag = "--" + name.lower().replace("_", "-")
        also = ["--state"] if name == "STATE_DIR" else []
        text = _SETTING_TEXT[name].format(metrics=METRICS_PORTS.get(role, 9100))
        parser.add_argument(flag, *also, dest=name, metavar="VALUE", help=f"{text} [{PREFIX}{name}]")
    parser.set_defaults(role=role)


def _add_init(commands: Any) -> None:
    parser = _command(
        commands,
        "init",
        "make the platform's keys in a state directory; keeps what is there",
        "countenance init --state /var/lib/countenance\n  countenance init --state DIR --json",
        _init,
    )
    _add_state(parser)
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")


def _add_up(commands: Any) -> None:
    parser = _command(
        commands,
        "up",
        "run the whole platform on this machine, with its own PostgreSQL and Redis",
        "countenance up\n  countenance up --state DIR --port 0 --ingest-port 0",
        _up,
    )
    _add_state(parser)
    parser.add_argument(
        "--port", type=int, default=8000, help="of the API; 0 takes a free one (default: 8000)"
    )
    parser.add_argument(
        "--ingest-port", type=int, default=8100, help="of the signalling; 0 takes a free one (default: 8100)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--shards", type=int, default=8, help="stream shards, 1 to 4096 (default: 8)")
    parser.add_argument("--max-sessions", type=int, default=40, help="live sessions to admit (default: 40)")
    parser.add_argument(
        "--classifier",
        choices=[str(engine) for engine in ClassifierEngine],
        default="auto",
        help="engine (default: auto)",
    )
    parser.add_argument("--json", action="store_true", help="print addresses as one JSON line when ready")


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        "--state-dir",
        dest="state",
        type=Path,
        default=Path(os.environ.get(PREFIX + "STATE_DIR") or DEFAULT_STATE),
        metavar="DIR",
        help=f"state directory [{PREFIX}STATE_DIR] (default: {DEFAULT_STATE})",
    )


def _init(arguments: argparse.Namespace) -> int:
    from cloud.hardening import forbid_core_dumps
    from cloud.keys.custody import prepare_keys
    from cloud.keys.platform_keys import init_state

    forbid_core_dumps()
    state = arguments.state.expanduser().resolve()
    made = init_state(state)
    made += prepare_keys(state / "keys", former_kek=state / "kek.key")
    if arguments.json:
        print(json.dumps({"state_dir": str(state), "made": made}))
    elif made:
        print(f"made {', '.join(made)} in {state}")
    else:
        print(f"{state} was complete already; nothing changed")
    return 0


def _migrate(arguments: argparse.Namespace) -> int:
    from cloud.database.migrate import migrate

    settings = load_settings(Role.MIGRATE, flags=_flags(arguments))
    applied = migrate(settings.database_owner_url)
    print(f"{applied} migrations applied" if applied else "the database was up to date already")
    return 0


def _run_role(arguments: argparse.Namespace) -> int:
    from cloud.bootstrap import run_process

    run_process(load_settings(arguments.role, flags=_flags(arguments)))
    return 0


def _up(arguments: argparse.Namespace) -> int:
    from cloud.bootstrap import run_loop, stop_event
    from cloud.supervisor import PlatformOptions, running_platform

    options = PlatformOptions(
        state_dir=arguments.state,
        api_port=arguments.port,
        ingest_port=arguments.ingest_port,
        host=arguments.host,
        shards=arguments.shards,
        classifier=ClassifierEngine(arguments.classifier),
        max_sessions=arguments.max_sessions,
    )

    def echo(line: str) -> None:
        print(f"countenance up: {line}", file=sys.stderr, flush=True)

    async def serve() -> None:
        async with stop_event() as stop, running_platform(options, echo=echo) as platform:
            facts = {
                "api": platform.api_url,
                "dashboard": f"{platform.api_url}/dashboard",
                "ingest": platform.ingest_url,
                "state_dir": str(platform.state_dir),
                "admin_token_file": str(platform.state_dir / "admin.token"),
                "logs": str(platform.state_dir / "logs"),
            }
            if arguments.json:
                print(json.dumps(facts), flush=True)
            else:
                print("\n".join(f"{name:18}{value}" for name, value in facts.items()), flush=True)
                print("Ctrl-C stops it.", flush=True)
            await stop.wait()
            echo("stopping")

    run_loop(serve)
    return 0


def _flags(arguments: argparse.Namespace) -> dict[str, str | None]:
    return {name: getattr(arguments, name, None) for name in _SETTING_TEXT}


def _is_expected(error: Exception) -> bool:
    from models.errors import ModelsError
    from privacy.errors import PrivacyError

    return isinstance(error, CloudError | PrivacyError | ModelsError)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"countenance {version('countenance')}"
    except PackageNotFoundError:
        return "countenance (not installed)"


if __name__ == "__main__":
    sys.exit(main())
