"""Without the SDK's extra, the simulator of Oracle Cloud says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
try:
    import executors.oci.simulator
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.parametrize("package", ["oci", "cryptography"])
def test_what_is_missing_is_said(package: str) -> None:
    argv = [sys.executable, "-c", WITHOUT, package]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'uici[oci]'" in done.stdout
