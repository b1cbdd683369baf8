"""Say whether this machine can take part: camera, detector, consent."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent.app import ask_receipt
from edge_agent.camera.frames import as_bgr
from edge_agent.camera.source import open_source, quiet_opencv
from edge_agent.clocks import utc_us
from edge_agent.consent.api_client import ApiClient
from edge_agent.consent.credential_store import CredentialStore
from edge_agent.errors import AgentError, CameraError
from edge_agent.invite import Invite
from edge_agent.tracking.detector_selection import detector_manifest, measure_and_remember


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check.

    Attributes:
        name: what was looked at.
        is_good: whether it will do.
        detail: what was found, in words.
    """

    name: str
    is_good: bool
    detail: str


def examine(*, camera: str | None, home: Path | None, invite: Invite | None) -> tuple[Finding, ...]:
    """Run every check that its arguments allow; without consent the camera stays closed.

    Args:
        camera: device number or file; None leaves it out.
        home: as in `RunSettings`.
        invite: the session whose consent is looked at; None leaves consent and camera out.
    """
    quiet_opencv()
    store = CredentialStore(home)
    findings = [_machine(), _checked("detector", lambda: _detector(store.home))]
    if invite is None:
        return tuple(findings)
    consent = _checked("consent", lambda: _consent(invite, store))
    findings.append(consent)
    if camera is not None:
        # The rule holds for a look around as well: no valid receipt, no camera.
        findings.append(
            _checked("camera", lambda: _camera(camera))
            if consent.is_good
            else Finding(name="camera", is_good=False, detail="not opened: there is no valid consent")
        )
    return tuple(findings)


def report(findings: tuple[Finding, ...], *, as_json: bool) -> str:
    """Write findings for a person, or as JSON."""
    if as_json:
        return json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2)
    return "\n".join(
        f"{'ok  ' if finding.is_good else 'FAIL'}  {finding.name}: {finding.detail}" for finding in findings
    )


def _checked(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, is_good=True, detail=look())
    except AgentError as error:
        return Finding(name=name, is_good=False, detail=str(error))


def _machine() -> Finding:
    detail = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return Finding(name="machine", is_good=True, detail=detail)


def _detector(home: Path) -> str:
    choice = measure_and_remember(home, detector_manifest())
    measured = "; ".join(
        f"{m.variant} {m.median_us / 1000:.2f} ms" + (f" ({m.problem})" if m.problem else "")
        for m in choice.measured
    )
    return f"uses {choice.variant}, the fastest that passes its self-test on one thread ({measured})"


def _consent(invite: Invite, store: CredentialStore) -> str:
    permission = ask_receipt(invite, ApiClient(invite), store)
    left_h = (permission.claims.expires_utc_us - utc_us()) / 3.6e9
    purposes = ", ".join(sorted(permission.claims.purposes))
    return f"receipt is valid for {left_h:.1f} h; agreed to: {purposes}"


def _camera(camera: str) -> str:
    source = open_source(camera)
    try:
        picture = source.read()
        if picture is None:
            raise CameraError("it opens, but gives no picture")
        frame = as_bgr(picture)
        return f"{frame.shape[1]}x{frame.shape[0]} at {source.fps:.1f} fps"
    finally:
        source.close()
