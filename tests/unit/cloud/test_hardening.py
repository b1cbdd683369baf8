import subprocess
import sys

import pytest

CODE = """
import resource
from cloud.hardening import forbid_core_dumps
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
assert forbid_core_dumps()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
import ctypes
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")
def test_a_hardened_process_can_leave_no_core_file() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
