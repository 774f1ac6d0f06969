"""Stage three for environments and targets: platforms, connections, bindings, names."""

from __future__ import annotations

from uici.catalogue.draft import Draft
from uici.catalogue.reading import Node
from uici.catalogue.shapes import parse
from uici.model.masking import is_secret_key
from uici.model.secret import is_reference
from uici.model.site import TargetSpec
from uici.model.topology import cycle_of

AUTO = "auto"
"""The value of environments.yml's `default` that asks UICI to find out where it is."""


def check_places(draft: Draft) -> None:
    """Report whatever is wrong with environments and targets."""
    _environments(draft)
    _targets(draft)
    _dependencies(draft)


def _environments(draft: Draft) -> None:
    names = draft.environment_entries.names
    if draft.default_environment != AUTO and draft.default_environment not in names:
        draft.report.add(
            draft.default_position,
            "unknown_environment",
            f"default names {draft.default_environment!r}, which is no environment",
            choices=(AUTO, *names),
            given=draft.default_environment,
        )
    for name, environment in draft.environments.items():
        node = draft.environment_entries.entry(name)
        connection = node.mapping.get("connection", Node(node.position, {}))
        _no_inline_secrets(draft, connection, f"environments.{name}.connection")
        executor = draft.executors.get(environment.platform)
        if executor is None:
            draft.report.add(
                node.at("platform").position,
                "unknown_platform",
                f"environments.{name}: no executor for {environment.platform!r} is installed",
                choices=sorted(draft.executors),
                given=environment.platform,
            )
        elif isinstance(connection.value, dict):
            what = f"environments.{name}.connection"
            parse(executor.settings_model, connection, draft.report, what=what, resolved_later=True)


def _no_inline_secrets(draft: Draft, node: Node, what: str) -> None:
    for key, value in node.mapping.items():
        literal = isinstance(value.value, str) and value.value != "" and not is_reference(value.value)
        if is_secret_key(key) and literal and not _is_place(key):
            draft.report.add(
                value.position,
                "inline_secret",
                f"{what}.{key}: a secret is given by reference only: ${{env:NAME}} or ${{file:/path}}",
            )
        _no_inline_secrets(draft, value, f"{what}.{key}")
    for index, item in enumerate(node.items):
        _no_inline_secrets(draft, item, f"{what}.{index}")


def _is_place(key: str) -> bool:
    """Keys such as `token_file` tell where a secret lies, which is no secret."""
    return key.lower().endswith(("_file", "_path", "_url", "_name", "_seconds"))


def _targets(draft: Draft) -> None:
    owners: dict[str, str] = {}
    for name in draft.target_entries.names:
        owners[name.lower()] = name
    for name, target in draft.targets.items():
        node = draft.target_entries.entry(name)
        for index, alias in enumerate(target.aliases):
            owner = owners.setdefault(alias.lower(), name)
            if owner != name:
                draft.report.add(
                    node.at("aliases", index).position,
                    "duplicate_name",
                    f"targets.{name}: the alias {alias!r} already means the target {owner!r}",
                )
        for environment_name in target.bindings:
            _binding(draft, name, environment_name, node.at("bindings"))


def _dependencies(draft: Draft) -> None:
    sound = True
    for name, target in draft.targets.items():
        for index, written in enumerate(target.depends_on):
            problem = _dependency_problem(draft, name, target, written)
            if problem is not None:
                sound = False
                code, text, choices = problem
                position = draft.target_entries.entry(name).at("depends_on", index).position
                given = written.rpartition("/")[2]
                draft.report.add(position, code, f"targets.{name}: {text}", choices=choices, given=given)
    cycle = cycle_of(draft.targets) if sound else ()
    if cycle:
        first = min(range(len(cycle)), key=lambda index: draft.target_entries.names.index(cycle[index].target))
        around = [str(place) for place in (*cycle[first:], *cycle[: first + 1])]
        draft.report.add(
            draft.target_entries.entry(cycle[first].target).at("depends_on").position,
            "dependency_cycle",
            f"targets.{cycle[first].target}: depends on itself: {' -> '.join(around)}; each would wait for the other",
        )


def _dependency_problem(
    draft: Draft, name: str, target: TargetSpec, written: str
) -> tuple[str, str, tuple[str, ...]] | None:
    """What is wrong with one entry of `depends_on`: a code, a text and what is valid."""
    where, slash, needed = written.rpartition("/")
    if needed not in draft.target_entries.names:
        others = tuple(other for other in draft.target_entries.names if other != name)
        return "unknown_target", f"depends_on names {written!r}, which is no target", others
    if needed == name:
        return "depends_on_itself", f"depends_on names {written!r}, which is the target itself", ()
    bound = draft.targets[needed].bindings if needed in draft.targets else target.bindings
    if slash and where not in bound:
        text = f"depends_on names {written!r}, but {needed} is not bound in {where!r}"
        return "unknown_dependency", text, tuple(f"{environment}/{needed}" for environment in bound)
    if not slash and not set(bound) & set(target.bindings):
        text = f"depends_on names {written!r}, but the two are bound in no common environment; say which is meant"
        return "unknown_dependency", text, tuple(f"{environment}/{needed}" for environment in bound)
    return None


def _binding(draft: Draft, target: str, environment_name: str, bindings: Node) -> None:
    if environment_name not in draft.environment_entries.names:
        draft.report.add(
            bindings.key_position(environment_name),
            "unknown_environment",
            f"targets.{target} is bound in {environment_name!r}, which is no environment",
            choices=draft.environment_entries.names,
            given=environment_name,
        )
        return
    for part in bindings.at(environment_name).walk():
        if isinstance(part.value, str) and is_reference(part.value):
            # It would reach the service as the text that stands here, which nobody can have meant.
            draft.report.add(
                part.position,
                "reference_in_binding",
                f"targets.{target}.bindings.{environment_name}: a binding is taken as it stands, so references to "
                "secrets are not filled in; let the service read its secret itself",
            )
    environment = draft.environments.get(environment_name)
    executor = draft.executors.get(environment.platform) if environment is not None else None
    node = bindings.at(environment_name)
    if executor is not None and isinstance(node.value, dict):
        parse(executor.binding_model, node, draft.report, what=f"targets.{target}.bindings.{environment_name}")
