"""Without the SDK's extra, the simulator of Oracle Cloud says what to install."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
sys.modules["cryptography"] = None
try:
    import executors.oci.simulator
except ModuleNotFoundError as error:
    print(error)
"""


def test_what_is_missing_is_said() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'uici[oci]'" in done.stdout
