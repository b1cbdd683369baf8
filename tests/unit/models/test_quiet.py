import os
import subprocess
import sys

import pytest

from models.runtime.quiet import quiet_standard_error


def test_native_greetings_go_nowhere_and_errors_are_seen_again_afterwards(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError, match="passes"), quiet_standard_error():
        os.write(2, b"a greeting\n")
        raise ValueError("passes")
    os.write(2, b"an error\n")
    assert capfd.readouterr().err == "an error\n"


def test_a_process_without_standard_error_works_too() -> None:
    code = "import os; os.close(2)\nfrom models.runtime.quiet import quiet_standard_error\nwith quiet_standard_error(): print('in')"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "in\n")
