"""The environments as people see them."""

from __future__ import annotations

from uici.model.base import JsonObject
from uici.model.masking import mask
from uici.model.scope import EVERYTHING, Scope
from uici.runs.services import Services


def listed_environments(services: Services, scope: Scope = EVERYTHING) -> list[JsonObject]:
    """The environments within the scope, each with whether its platform answers now."""
    site = services.site()
    shown = []
    for name, environment in sorted(site.environments.items()):
        if not scope.enters(name):
            continue
        used = any(name in target.bindings for target in site.targets.values())
        ok, detail = services.platforms.check(name) if used else (None, "not asked: no target lives here")
        shown.append(
            {
                "name": name,
                "platform": environment.platform,
                "summary": environment.summary,
                "default": name == site.default_environment,
                "default_because": site.default_because if name == site.default_environment else None,
                "reachable": ok,
                "detail": mask(detail),
            }
        )
    return shown
