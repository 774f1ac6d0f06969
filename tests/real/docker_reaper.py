"""Clears away what a tests' own Docker engine leaves: run as a program, when the tests died without doing so.

`python docker_reaper.py HOME` waits for the end of its standard input, which is the end of the process that
holds the other end of the pipe, and then clears HOME.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def bridge_of(home: Path) -> str:
    """The name of the network bridge of the engine that lives in `home`; at most 15 characters."""
    return f"uici-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


def clear(home: Path) -> None:
    """End dockerd, its containerd, its shims and whatever runs in its images; unmount and delete its data."""
    for file in (home / "dockerd.pid", home / "exec/containerd/containerd.pid"):
        with suppress(OSError, ValueError):
            pid = int(file.read_text())
            if f"{home}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    _end_processes(home)
    time.sleep(0.1)
    lines = Path("/proc/self/mounts").read_text().splitlines()
    for mount in sorted((line.split()[1] for line in lines if line.split()[1].startswith(f"{home}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run(["ip", "link", "delete", bridge_of(home)], stderr=subprocess.DEVNULL, check=False)  # if there is one


def _end_processes(home: Path) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(process.name) == os.getpid():
                continue
            argv = (process / "cmdline").read_bytes()
            shim = b"containerd-shim" in argv and f"{home}/".encode() in argv
            mounts = (process / "mountinfo").read_text().splitlines()
            inside = any(line.split()[4] == "/" and f"{home}/data" in line for line in mounts)
            if shim or inside:
                os.kill(int(process.name), signal.SIGKILL)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    if Path(sys.argv[1]).is_dir():
        clear(Path(sys.argv[1]))
