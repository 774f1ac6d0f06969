"""The long attack on the API: Schemathesis' own engine with all that it knows, against a service of this machine.

    python -m tests.attack [--minutes M] [--seed N]

It goes round with one seed after another until the minutes are over, and stops at the first round that finds something;
what it prints repeats that round.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.attack.api import ACCEPT
from tests.integration.service_rig import alert, notification, serving
from uici.access.roles import Role

_CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance"
)
_EXAMPLES = 30


def main() -> int:
    """The exit code: 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    deadline = time.monotonic() + chosen.minutes * 60
    seed = chosen.seed
    while True:
        sys.stdout.write(f"the API under attack with the seed {seed}\n")
        sys.stdout.flush()
        with tempfile.TemporaryDirectory(prefix="uici-attack-") as folder:
            found = round_of(Path(folder), seed)
        if found:
            sys.stdout.write(f"found something; again: python -m tests.attack --minutes 0 --seed {seed}\n")
            return 1
        if time.monotonic() >= deadline:
            return 0
        seed += 1


def round_of(folder: Path, seed: int) -> int:
    """One round: the engine's exit code."""
    with serving(folder) as served:
        served.alert(notification(alert()))
        program = Path(sys.executable).with_name("schemathesis")
        # The notifications have a schema of their own, which `make fuzz` attacks.
        command = [str(program), "run", f"{served.url}/openapi.json", "--exclude-path", "/webhooks/alertmanager"]
        command += ["--checks", _CHECKS, "--seed", str(seed), "--max-examples", str(_EXAMPLES)]
        command += ["--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"]
        command += ["-H", f"Authorization: Bearer {served.tokens[Role.ADMIN]}", "-H", f"Accept: {ACCEPT}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, check=False)
    sys.stdout.write(done.stdout.decode(errors="replace"))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
