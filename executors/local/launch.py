"""Becomes the program of a specification: `python -I -S -X utf8 launch.py <specification.json> <instance>`.

supervisord runs this instead of the program itself, so that no argument, no variable and no path that
people or models write ever stands in an ini file, where `%`, `;`, quotes and newlines have a meaning. It
also notes which process it became, so that a program which outlives its supervisord is found again.

Standard library only, nothing of UICI: it is run without site-packages.
"""

import json
import os
import sys

CANNOT_START = 127  # what a shell answers for a command that it cannot run


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; survives exec, unlike a name.

    Raises OSError when there is no such process. Always 0 where the kernel has no /proc (macOS): there a
    process is told from another by its id alone.
    """
    if not os.path.isdir("/proc/self"):
        return 0
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The second field is the command in parentheses and may hold anything, parentheses too.
        return int(file.read().rpartition(b")")[2].split()[19])


def main(arguments: list[str]) -> int:
    """Replace this process; returns only when that failed, with the exit status."""
    specification_path, instance = arguments
    try:
        with open(specification_path, encoding="utf-8") as file:
            specification = json.load(file)
        launch = specification["launch"]
        command = [str(word) for word in launch["command"]]
        # The keys of supervisord's own socket and groups are no business of the service.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SUPERVISOR_")}
        environment.update(launch["environment"])
        environment["UICI_INSTANCE"] = instance.rpartition("-")[2]
        note = {"pid": os.getpid(), "ticks": start_ticks(os.getpid()), "launch": specification["launch_digest"]}
        note_path = os.path.join(os.path.dirname(specification_path), "..", "run", f"{instance}.json")
        temporary = f"{note_path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(note, file)
        os.replace(temporary, note_path)
        os.chdir(launch["directory"])
        os.execvpe(command[0], command, environment)  # noqa: S606 - that no shell comes between is the purpose
    except (OSError, ValueError, KeyError) as error:
        # Only the kind of failure and the path: a ValueError's text may quote a variable.
        where = getattr(error, "filename", None) or ""
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        sys.stderr.write(f"uici: cannot start {instance}: {reason} {where}\n")
        return CANNOT_START


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
