"""Reading agents.yml: the shipped one with a site's over it. All that is wrong is said at once, each with its place."""

from __future__ import annotations

from pathlib import Path

from council.settings import EMBEDDINGS, AgentsFile
from uici.catalogue.diagnostics import CatalogueError, Position, Report
from uici.catalogue.locations import shipped_config
from uici.catalogue.overlaying import Section, overlay
from uici.catalogue.reading import Node, read_file
from uici.catalogue.shapes import parse
from uici.model.base import JsonObject

FILE = "agents.yml"
_SECTIONS = (
    Section("service", 8),
    Section("callers", 1),
    Section("backends", 1),
    Section("routes", 1),
    Section("budget", 8),
    Section("memory", 8),
    Section("learning", 8),
)


def json_schema() -> JsonObject:
    """The JSON Schema (2020-12) of agents.yml."""
    schema = AgentsFile.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": FILE}


def load(folder: Path | None) -> AgentsFile:
    """The settings in force with the site's `folder`. Raises CatalogueError with every problem found."""
    report = Report()
    document = read_file(shipped_config() / FILE, report)
    if folder is not None and document is not None and (folder / FILE).exists():
        own = read_file(folder / FILE, report)
        document = overlay(_SECTIONS, document, own, report) if own is not None else None
    settings = parse(AgentsFile, document, report) if document is not None else None
    if settings is not None and document is not None:
        _check(settings, document, report)
    if report or settings is None:
        raise CatalogueError(report)
    return settings


def _check(settings: AgentsFile, document: Node, report: Report) -> None:
    """What names what is there, and can be used for it."""
    if settings.default_route not in settings.routes:
        report.add(
            document.at("default_route").position,
            "unknown_route",
            f"there is no route {settings.default_route!r}",
            choices=settings.routes,
            given=settings.default_route,
        )
    if settings.embeddings is not None:
        backend = settings.backends.get(settings.embeddings)
        place = document.at("embeddings").position
        if backend is None:
            _unknown_backend(settings, settings.embeddings, place, report)
        elif backend.embedding_model is None:
            report.add(place, "no_embeddings", f"the backend {settings.embeddings} has no embedding_model")
    if settings.memory.vectors is not None:
        place = document.at("memory", "vectors").position
        if settings.embeddings is None:
            report.add(place, "no_embeddings", "vectors need a backend that gives them: embeddings names none")
        elif (given := settings.backends.get(settings.embeddings)) is not None and not given.price.free:
            report.add(place, "embeddings_cost", "each fact and question would cost something that no budget counts")
    if settings.canary is not None:
        for member, name in (("main", settings.canary.main), ("backend", settings.canary.backend)):
            if name not in settings.backends:
                _unknown_backend(settings, name, document.at("canary", member).position, report)
    _check_routes(settings, document, report)


def _check_routes(settings: AgentsFile, document: Node, report: Report) -> None:
    if EMBEDDINGS in settings.routes:
        place = document.key_position("routes", EMBEDDINGS)
        report.add(place, "reserved_name", f"{EMBEDDINGS!r} is where /v1/embeddings is counted, and no name of a route")
    for name in settings.budget.routes:
        if name not in settings.counted:
            place = document.key_position("budget", "routes", name)
            report.add(place, "unknown_route", f"there is no route {name!r}", choices=settings.counted, given=name)
    for route_name, route in settings.routes.items():
        by = None if route.compress is None else route.compress.by
        if by is not None:
            place = document.at("routes", route_name, "compress", "by").position
            if by not in settings.backends:
                _unknown_backend(settings, by, place, report)
            elif settings.backends[by].kind == "recall":
                report.add(place, "no_summaries", f"the backend {by} quotes what it was told; it cannot summarise")
        for number, stage in enumerate(route.stages):
            written = document.at("routes", route_name, "stages", number)
            for name in stage.backends:
                if name not in settings.backends:
                    _unknown_backend(settings, name, written.key_position("backends", name), report)


def _unknown_backend(settings: AgentsFile, name: str, place: Position, report: Report) -> None:
    report.add(place, "unknown_backend", f"there is no backend {name!r}", choices=settings.backends, given=name)
