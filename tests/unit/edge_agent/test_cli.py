import io
import json

import pytest

from edge_agent import cli
from edge_agent.errors import ConsentMissingError

TOKEN = f"{'a' * 32}.{'b' * 32}.{'s' * 24}"
NOBODY = f"http://127.0.0.1:9/v1/join#{TOKEN}"


@pytest.mark.parametrize("command", [[], ["run"], ["consent"], ["withdraw"], ["doctor"]])
def test_help_shows_examples(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == 0
    assert "countenance-agent run" in capsys.readouterr().out


def test_a_bad_invitation_is_one_line_on_standard_error(capsys):
    assert cli.main(["run", "--invite", "nonsense", "--camera", "0"]) == cli.EXIT_ERROR
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == "countenance-agent: the invitation must be an http or https link"


def test_a_setting_out_of_range_is_wrong_usage(capsys):
    arguments = ["run", "--invite", NOBODY, "--camera", "0", "--fps", "500"]
    assert cli.main(arguments) == cli.EXIT_USAGE
    assert "--fps" in capsys.readouterr().err


def test_a_platform_that_is_away_opens_no_camera(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_agent.app.open_source", _must_not_open)
    arguments = ["run", "--invite", NOBODY, "--camera", "0", "--home", str(tmp_path)]
    assert cli.main(arguments) == cli.EXIT_ERROR
    assert "does not answer" in capsys.readouterr().err


def test_the_doctor_says_which_detector_variant_is_used(capsys, tmp_path):
    assert cli.main(["doctor", "--json", "--home", str(tmp_path)]) == cli.EXIT_OK
    findings = {f["name"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["detector"]["is_good"]
    assert "ms" in findings["detector"]["detail"]
    assert (tmp_path / "detector.json").exists()


def test_the_doctor_opens_no_camera_without_consent(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_agent.doctor.open_source", _must_not_open)
    arguments = ["doctor", "--invite", NOBODY, "--camera", "0", "--home", str(tmp_path)]
    assert cli.main(arguments) == cli.EXIT_ERROR
    out = capsys.readouterr().out
    assert "FAIL  consent" in out
    assert "camera: not opened" in out


def test_withdrawing_forgets_the_keys_even_when_the_platform_is_away(tmp_path, capsys):
    from uuid import UUID

    from edge_agent.consent.credential_store import CredentialStore

    store = CredentialStore(tmp_path)
    store.new_device_key(UUID("b" * 32))
    assert cli.main(["withdraw", "--invite", NOBODY, "--home", str(tmp_path)]) == cli.EXIT_ERROR
    assert store.device_key(UUID("b" * 32)) is None
    assert "does not answer" in capsys.readouterr().err


def test_a_session_that_was_begun_before_is_not_taken_up_again(tmp_path, capsys, monkeypatch):
    from uuid import UUID

    from edge_agent.consent.credential_store import CredentialStore

    monkeypatch.setattr("edge_agent.app.open_source", _must_not_open)
    CredentialStore(tmp_path).store_begun(UUID("b" * 32))
    arguments = ["run", "--invite", NOBODY, "--camera", "0", "--home", str(tmp_path)]
    assert cli.main(arguments) == cli.EXIT_ERROR
    assert "new invitation" in capsys.readouterr().err


def _must_not_open(*_arguments, **_options):
    raise AssertionError("the camera was opened without consent")


@pytest.fixture
def consented(monkeypatch):
    """A session whose consent is in order, so that the camera is what comes next."""
    from types import SimpleNamespace

    monkeypatch.setattr("edge_agent.app.ask_receipt", lambda *_: SimpleNamespace(join=None, clock=None))


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "there is no video film.mp4"), (b"no film at all", "film.mp4 is not a video that can be played")],
)
def test_a_video_that_is_none_is_one_clear_line_and_spends_no_invitation(
    tmp_path, capsys, consented, content, what
):
    from uuid import UUID

    from edge_agent.consent.credential_store import CredentialStore

    film = tmp_path / "film.mp4"
    if content is not None:
        film.write_bytes(content)
    arguments = [
        "run",
        "--invite",
        NOBODY,
        "--camera",
        str(film),
        "--home",
        str(tmp_path),
        "--detector",
        "int8",
    ]
    assert cli.main(arguments) == cli.EXIT_ERROR
    assert capsys.readouterr().err.strip() == f"countenance-agent: {what}"
    assert not CredentialStore(tmp_path).has_begun(UUID("b" * 32))


@pytest.mark.parametrize("name", ["-film.mp4", "--loop", "2024-11-30T10:15.mp4", "0", "caf\udce9.mp4"])
def test_an_existing_file_is_what_camera_names_whatever_its_name(
    tmp_path, capsys, consented, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"no film at all")
    arguments = ["run", "--invite", NOBODY, "--camera", name, "--home", str(tmp_path), "--detector", "int8"]
    assert cli.main(arguments) == cli.EXIT_ERROR
    shown = name.replace("\udce9", "\\xe9")
    assert capsys.readouterr().err.strip() == f"countenance-agent: {shown} is not a video that can be played"


def test_a_machine_without_a_camera_is_told_what_to_do(tmp_path, capsys, consented, monkeypatch):
    import cv2

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda *_: type("Closed", (), {"isOpened": lambda _self: False})()
    )
    monkeypatch.setattr("pathlib.Path.glob", lambda _self, _pattern: iter(()))
    arguments = ["run", "--invite", NOBODY, "--camera", "0", "--home", str(tmp_path), "--detector", "int8"]
    assert cli.main(arguments) == cli.EXIT_ERROR
    err = capsys.readouterr().err
    assert "camera 0 cannot be opened: this machine has no camera" in err
    assert "--camera film.mp4" in err
    assert "Traceback" not in err


def test_nobody_at_a_terminal_is_no_consent_and_no_traceback(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(ConsentMissingError, match="--accept"):
        cli._ask("May we? ")
