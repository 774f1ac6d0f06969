"""The files of a program: its specification (what should run), its ini, its log, the notes of its processes."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from executors.local.settings import PROGRAM_PATTERN, LocalBinding, ProgramVersion
from uici.model.base import Frozen, canonical_json, digest
from uici.model.call import CallError, FailureKind

_LAUNCHER = Path(__file__).with_name("launch.py")
_PROGRAM = re.compile(PROGRAM_PATTERN)


class Launch(Frozen):
    """What the launcher becomes."""

    command: tuple[str, ...]
    directory: str
    environment: dict[str, str]


class Specification(Frozen):
    """What should run: the binding's beginning and the changes made since. Kept as JSON beside the ini."""

    program: str
    sequence: int = 0
    """Grows by one with every change."""
    binding: LocalBinding
    replicas: int
    version: str | None
    previous_version: str | None = None
    deployed_at: str | None = None
    assigned: dict[str, str] = Field(default_factory=dict)
    """Variables set by program.configure."""
    removed: tuple[str, ...] = ()
    """Variables removed by program.configure."""
    pending: tuple[str, ...] = ()
    """Instances that a change under way still has to restart; left behind by a crash, the next change does it."""

    @classmethod
    def initial(cls, binding: LocalBinding) -> Specification:
        """What a binding asks for before anything was changed."""
        return cls(program=binding.program, binding=binding, replicas=binding.replicas, version=binding.version)

    def rebound(self, binding: LocalBinding) -> Specification:
        """The same changes over the binding as people have written it by now.

        A value that people have edited since wins over the change that UICI made to the former one.
        """
        if binding == self.binding or binding.command is None:
            return self
        update: dict[str, object] = {"binding": binding}
        if binding.replicas != self.binding.replicas:
            update["replicas"] = binding.replicas
        if binding.version != self.binding.version or self.version not in binding.versions:
            update["version"] = binding.version
            update["previous_version"] = None
        return self.model_copy(update=update)

    @property
    def launch(self) -> Launch:
        """What the launcher becomes."""
        binding = self.binding
        version = binding.versions.get(self.version, ProgramVersion()) if self.version else ProgramVersion()
        environment = {**binding.environment, **version.environment, **self.assigned}
        for name in self.removed:
            environment.pop(name, None)
        return Launch(
            command=version.command or binding.command or (),
            directory=version.directory or binding.directory or "/",
            environment=environment,
        )

    @property
    def deployment(self) -> dict[str, str]:
        """What a later deploy needs to bring exactly this back."""
        kept = {"previous_version": self.previous_version, "deployed_at": self.deployed_at}
        return {name: value for name, value in kept.items() if value}

    @property
    def launch_digest(self) -> str:
        """Tells a process that was started with the present specification from an earlier one."""
        return digest(self.launch.model_dump(mode="json"))

    @property
    def instances(self) -> tuple[str, ...]:
        """Ids of the instances that there should be."""
        return tuple(f"{self.program}-{number}" for number in range(self.replicas))


class Note(Frozen):
    """What the launcher noted of a process: its id, its start in clock ticks since boot, what it was to become."""

    pid: int
    ticks: int
    launch: str


class ProgramFiles:
    """The folder that this executor owns; one writer at a time, by the caller's lock."""

    def __init__(self, root: Path, log_megabytes: int) -> None:
        self.root = root
        self.programs = root / "programs"
        self.logs = root / "logs"
        self.run = root / "run"
        self._log_megabytes = log_megabytes

    def make(self) -> None:
        """Create the folders, for their owner only: variables of the programs, perhaps secrets, are in them.

        Raises OSError; CallError(PERMANENT, `bad_directory`) for a folder that others use for other things.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        open_to_others = self.root.stat().st_mode & 0o077
        if open_to_others and not (self.root / "programs").is_dir() and any(self.root.iterdir()):
            raise CallError(
                FailureKind.PERMANENT,
                "bad_directory",
                f"{self.root} is open to others and holds other things; give supervisord a folder of its own",
            )
        if open_to_others:
            self.root.chmod(0o700)
        for folder in (self.programs, self.logs, self.run):
            folder.mkdir(exist_ok=True, mode=0o700)

    def read(self, program: str) -> Specification | None:
        """The installed specification, None when there is none.

        Raises CallError(PERMANENT, `specification_broken`) for a file that cannot be understood.
        """
        path = self.specification_path(program)
        try:
            content = json.loads(path.read_bytes())
            content.pop("launch", None)
            content.pop("launch_digest", None)
            return Specification.model_validate(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError, ValidationError) as error:
            raise CallError(
                FailureKind.PERMANENT,
                "specification_broken",
                f"the specification {path} cannot be read ({type(error).__name__}); "
                "move it away and the program is installed again from its binding",
            ) from None

    def write(self, specification: Specification) -> None:
        """Install a specification: JSON first, then the ini that names its instances. Raises OSError."""
        content = specification.model_dump(mode="json")
        content["launch"] = specification.launch.model_dump(mode="json")
        content["launch_digest"] = specification.launch_digest
        write_atomically(self.specification_path(specification.program), canonical_json(content).encode())
        ini = self.render(specification).encode()
        path = self.ini_path(specification.program)
        if not path.exists() or path.read_bytes() != ini:
            write_atomically(path, ini)

    def render(self, specification: Specification) -> str:
        """The ini of a program: nothing in it but names that match a pattern and paths of our own."""
        sections = []
        for instance in specification.instances:
            command = shlex.join(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-X",
                    "utf8",  # variables are passed as they were written, whatever the locale
                    str(_LAUNCHER),
                    str(self.specification_path(specification.program)),
                    instance,
                ]
            )
            sections.append(
                f"[program:{instance}]\n"
                f"command={_escape(command)}\n"
                "autostart=false\n"
                "autorestart=false\n"
                "startsecs=0\n"
                "startretries=0\n"
                "exitcodes=0\n"
                "stopsignal=TERM\n"
                f"stopwaitsecs={math.ceil(specification.binding.stop_seconds)}\n"
                "stopasgroup=true\n"
                "killasgroup=true\n"
                "redirect_stderr=true\n"
                f"stdout_logfile={_escape(str(self.log_path(instance)))}\n"
                f"stdout_logfile_maxbytes={self._log_megabytes}MB\n"
                "stdout_logfile_backups=1\n"
            )
        return "; Written by UICI; changes are overwritten.\n" + "\n".join(sections)

    def note(self, instance: str) -> Note | None:
        """What the launcher noted last for an instance."""
        try:
            return Note.model_validate_json((self.run / f"{instance}.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def forget(self, instance: str) -> None:
        """Drop the note of a process that was ended on purpose. Raises OSError."""
        (self.run / f"{instance}.json").unlink(missing_ok=True)

    def tail(self, instance: str, lines: int) -> tuple[list[str], bool]:
        """The newest lines of an instance's log, oldest first, and whether there are older ones. Raises OSError."""
        found: list[bytes] = []
        path = self.log_path(instance)
        for part in (path, path.with_name(path.name + ".1")):
            if len(found) > lines:
                break
            try:
                with part.open("rb") as file:
                    found = [*_last_lines(file.fileno(), lines + 1 - len(found)), *found]
            except FileNotFoundError:
                continue
        return [line.decode("utf-8", "replace") for line in found[-lines:]], len(found) > lines

    def installed(self) -> tuple[str, ...]:
        """Names of the programs that have a specification."""
        return tuple(sorted(path.stem for path in self.programs.glob("*.json") if _PROGRAM.match(path.stem)))

    def specification_path(self, program: str) -> Path:
        """Where a program's specification is kept."""
        return self.programs / f"{program}.json"

    def ini_path(self, program: str) -> Path:
        """Where supervisord reads of a program."""
        return self.programs / f"{program}.ini"

    def log_path(self, instance: str) -> Path:
        """Where an instance's output goes."""
        return self.logs / f"{instance}.log"


def changed_environment(
    specification: Specification, assign: Mapping[str, str], remove: tuple[str, ...]
) -> Specification:
    """The specification with variables set and removed; sequence untouched."""
    assigned = {**{name: value for name, value in specification.assigned.items() if name not in remove}, **assign}
    removed = (set(specification.removed) | set(remove)) - set(assign)
    # Only what differs from the binding and its version is a change: undo leaves nothing behind that would later hide
    # what another version or an edited binding says.
    written = specification.model_copy(update={"assigned": {}, "removed": ()}).launch.environment
    return specification.model_copy(
        update={
            "assigned": {name: value for name, value in assigned.items() if written.get(name) != value},
            "removed": tuple(sorted(removed & set(written))),
        }
    )


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, or a crash, meets the old content or the new. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _last_lines(descriptor: int, lines: int) -> list[bytes]:
    return list(_split(b"".join(_blocks_from_the_end(descriptor, lines))))[-lines:]


def _blocks_from_the_end(descriptor: int, lines: int, block: int = 65536, most: int = 64 << 20) -> list[bytes]:
    position = os.fstat(descriptor).st_size
    blocks: list[bytes] = []
    newlines = total = 0
    while position > 0 and newlines <= lines and total < most:
        size = min(block, position)
        position -= size
        blocks.insert(0, os.pread(descriptor, size, position))
        newlines += blocks[0].count(b"\n")
        total += size
    return blocks


def _split(content: bytes) -> Iterator[bytes]:
    if content:
        yield from content.removesuffix(b"\n").split(b"\n")


def _escape(value: str) -> str:
    return value.replace("%", "%%")
