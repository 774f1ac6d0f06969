"""Which calls an environment's configuration can lead to: every verb that may be used, on every target. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from uici.model.base import JsonObject, JsonValue
from uici.model.condition import select
from uici.model.operation import CallTemplate, Operation, Translation
from uici.model.references import OMITTED, MissingItemError, Reference, resolve
from uici.model.site import Autonomy, Site


def calls_needed(site: Site, environment: str) -> Iterator[tuple[str, JsonObject]]:
    """Each call by its name and arguments, with the target's binding filled in and other references left as texts.

    A target that is only watched, and an autonomy of `observe`, need nothing that changes something.
    """
    platform = site.environments[environment].platform
    for name, target in site.targets.items():
        binding = target.bindings.get(environment)
        if binding is None:
            continue
        reads_only = target.watch_only or site.autonomy_of(name, environment) in (None, Autonomy.OBSERVE)
        for operation in site.operations.values():
            translation = operation.translations.get(platform)
            if translation is not None and not (operation.mutates and reads_only):
                yield from _of(operation, translation, binding)


def _of(operation: Operation, translation: Translation, binding: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    for template in _templates(translation):

        def lookup(reference: Reference) -> JsonValue:
            if reference.root != "target":
                return f"${{{reference.dotted}}}"
            return select(binding, reference.below, OMITTED) if reference.below else binding

        try:
            arguments: JsonObject = resolve(template.arguments, lookup)
        except MissingItemError:
            return  # the verb needs something that this target does not have
        yield template.call, arguments


def _templates(translation: Translation) -> Iterator[CallTemplate]:
    yield from translation.calls
    for reading in (translation.before, translation.verification):
        if reading is not None:
            yield from reading.calls
