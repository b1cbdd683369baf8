"""What an import of the agent may bring, seen from a fresh interpreter."""

import subprocess
import sys

FORBIDDEN = ("tensorflow", "keras", "fastapi", "redis", "psycopg", "cloud", "aiohttp", "models.expression")


def loaded_by(statement):
    probe = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120
    )
    return {name.strip() for name in done.stdout.splitlines()}


def test_the_whole_agent_brings_no_server_side_library():
    modules = loaded_by(
        "import edge_agent.cli, edge_agent.app, edge_agent.doctor, edge_agent.consent.dialogue"
    )
    found = [m for m in modules if any(m == f or m.startswith(f + ".") for f in FORBIDDEN)]
    assert found == []


def test_the_pure_pipeline_brings_no_device_or_network_library():
    modules = loaded_by(
        "import edge_agent.tracking.pipeline, edge_agent.session.sealed, edge_agent.session.playback"
    )
    assert not modules & {"aiortc", "av", "websockets", "keyring", "ai_edge_litert"}


def test_asking_for_help_loads_neither_camera_nor_network():
    modules = loaded_by("import edge_agent.cli")
    assert not modules & {"cv2", "aiortc", "ai_edge_litert", "numpy"}
