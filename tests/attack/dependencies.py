"""Whether a vulnerability is known of anything that is installed here: `make dependency-audit`.

    python -m tests.attack.dependencies [PROGRAM]

Exit codes: 0, judged and nothing known; 1, something is known; 2, not judged, because pip-audit or its data (the Python
Packaging Advisory Database, asked at pypi.org) could not be had. Not judged is never taken for good.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

CLEAN, KNOWN, NOT_JUDGED = 0, 1, 2
_ENVIRONMENT = Path("build/pip-audit")
_SECONDS = 300


def main(program: str = "") -> int:
    """The exit code."""
    try:
        program = program or _installed()
        command = [program, "--format", "json", "--progress-spinner", "off", "--path", sysconfig.get_path("purelib")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return _not_judged(f"pip-audit could not be run: {error}")
    return judge(done.stdout, done.stderr)


def judge(answer: str, said: str) -> int:
    """What pip-audit's answer means: its own exit code is the same for a finding and for data that it did not get."""
    try:
        document: Any = json.loads(answer)
        judged = [each for each in document["dependencies"] if "vulns" in each]
        skipped = [f"{each['name']}: {each['skip_reason']}" for each in document["dependencies"] if "vulns" not in each]
    except (ValueError, KeyError, TypeError):
        return _not_judged(said.strip()[-500:] or "pip-audit gave no answer")
    if not judged:
        return _not_judged("no package was judged")
    known = [(each, vulnerability) for each in judged for vulnerability in each["vulns"]]
    for each, vulnerability in known:
        fixed = ", ".join(vulnerability.get("fix_versions") or ()) or "no version yet"
        sys.stdout.write(f"{each['name']} {each['version']}: {vulnerability['id']}; fixed in {fixed}\n")
    for each in skipped:
        sys.stdout.write(f"not judged: {each}\n")
    sys.stdout.write(f"{len(judged)} packages judged, {len(known)} vulnerabilities known\n")
    return KNOWN if known else CLEAN


def _installed() -> str:
    """The program, from an environment of its own: what audits is not part of what is audited."""
    program = _ENVIRONMENT / "bin" / "pip-audit"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_ENVIRONMENT)], check=True, timeout=_SECONDS)
        pip = [str(_ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "pip-audit"]
        subprocess.run(pip, check=True, timeout=_SECONDS)
    return str(program)


def _not_judged(why: str) -> int:
    sys.stdout.write(
        f"NOT JUDGED: {why}\nNothing is known about the packages here; run it where pypi.org can be reached.\n"
    )
    return NOT_JUDGED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
