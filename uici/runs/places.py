"""The environments as people see them."""

from __future__ import annotations

from uici.model.base import JsonObject
from uici.model.masking import mask
from uici.runs.services import Services


def listed_environments(services: Services) -> list[JsonObject]:
    """All environments, each with whether its platform answers now."""
    site = services.site()
    shown = []
    for name, environment in sorted(site.environments.items()):
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
