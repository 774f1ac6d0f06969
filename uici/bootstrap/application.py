"""All objects of one UICI, made from its configuration."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from uici.access.secrets import resolve, resolve_tree
from uici.access.tokens import TokenStore
from uici.audit.chain import Seal, record, seal_with
from uici.audit.entries import Entry
from uici.bootstrap.identity import discover
from uici.catalogue.cache import SiteCache, cache_folder
from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.executors import discover_executors
from uici.catalogue.live import LiveSite
from uici.catalogue.loading import Catalogue, load_site
from uici.catalogue.locations import config_directory
from uici.catalogue.tree import Look, Tree
from uici.events.log import EventLog
from uici.intake.heartbeats import SENDER, HeartbeatWatch
from uici.intake.writer import IntakeWriter
from uici.model.base import JsonObject
from uici.model.errors import Problem
from uici.model.identity import SelfGuardLayers, Selves
from uici.model.masking import register_named
from uici.model.site import Site
from uici.notify.channels import open_channels
from uici.notify.delivery import Deliverer
from uici.notify.notifications import Notifications
from uici.ports import Clock, Executor
from uici.runs.brakes import Brakes
from uici.runs.configuration import Configuration
from uici.runs.control import Control
from uici.runs.engine import Engine
from uici.runs.pinning import Pins
from uici.runs.platforms import Platforms
from uici.runs.questions import Questions
from uici.runs.restored import settle_restored
from uici.runs.retaining import Retention
from uici.runs.services import Services
from uici.runs.workers import Workers
from uici.store.clock import ServiceClock
from uici.store.database import Store, parsed_url
from uici.translation.verb_tests import VerbProver


def end_at_once() -> None:
    """End the process: others have taken over its work, so nothing of it may go on."""
    os._exit(os.EX_TEMPFAIL)


class Application:
    """One UICI. `start` begins to work, `stop` ends it so that nothing is lost."""

    def __init__(
        self,
        config: Path | None = None,
        state: str | None = None,
        *,
        scratch: Path | None = None,
        clock: Clock | None = None,
        monotonic: Callable[[], float] | None = None,
        layers: SelfGuardLayers | None = None,
        executors: Mapping[str, type[Executor]] | None = None,
        on_lost: Callable[[], None] = end_at_once,
    ) -> None:
        """Load the configuration and make everything; touches no platform.

        With `scratch` the state is an empty one in that folder; what the executors own stays beside the configured one.
        `executors` are further platforms, or others in the place of those that are installed. `on_lost` is called when
        other processes have taken over what is under way here.
        Raises CatalogueError with all problems of the configuration, and Problem when the state cannot be used.
        """
        classes = {**discover_executors(), **(executors or {})}
        directory = config_directory(config)
        self._clock = clock or ServiceClock()
        tree = Tree(directory)
        cache = SiteCache(cache_folder(), directory, classes)
        catalogue = Catalogue(tree, executors=classes, cache=cache)
        self._live = LiveSite(tree, _sound(catalogue, classes), self._clock)
        site = self.site
        configured = state_url(state, site, directory)
        self.store = Store(configured if scratch is None else f"sqlite:///{scratch / 'uici.db'}")
        self.store.migrate()
        if scratch is None:
            _seal(self.store, site)
        if isinstance(self._clock, ServiceClock):
            self._clock.follow(self.store)
        layers = layers or SelfGuardLayers()
        selves = Selves(discover(site.platform.self.names, configured))
        self.events = EventLog(self.store, self._clock)
        beside = _owned_folder(configured)
        council = site.platform.council
        self.platforms = Platforms(self._live.site, classes, selves, layers, beside)
        self.services = Services(
            store=self.store,
            events=self.events,
            clock=self._clock,
            site=self._live.site,
            platforms=self.platforms,
            pins=Pins(self.store, self._clock),
            selves=selves,
            layers=layers,
            workers=Workers(self.store, self._clock, site.platform.runs.takeover_seconds, selves, on_lost),
            brakes=Brakes(self.store, self._clock),
            wake=self._wake,
            drafts=beside / "drafts",
            # Half of the threads are always there for those who act.
            questions=Questions(min(council.at_once, site.platform.runs.threads // 2) if council else 1),
            # A dry run wants the permissions of the real call, which are the service's and not everybody's.
            rehearses=scratch is None,
        )
        self.engine = Engine(self.services)
        notify = self.site.platform.notify
        # In an empty state nobody is told anything, and the secrets need not be here.
        channels = open_channels(notify) if scratch is None else ()
        self._deliverer = Deliverer(self.store, self._clock, channels, notify, self.services.workers.id)
        notifications = Notifications(self.store, self.events, self._clock, channels, notify, self._wake)
        self._intake = IntakeWriter(
            self.events, self._clock, self._live.site, selves, layers, site.platform.intake, self._wake
        )
        self._heartbeats = HeartbeatWatch(
            self.store,
            self._clock,
            self._live.site,
            lambda notification: self._intake.deliver(notification, SENDER),
            monotonic or time.monotonic,
        )
        kept = self.site.platform.retention
        self.retention = Retention(self.store, self._clock, lambda: kept, mine=self.services.workers.is_first)
        self.configuration = Configuration(self._live, self.events, self._clock)
        self.control = Control(
            self.services,
            self._intake,
            self.engine,
            TokenStore(self.store, now=self._clock.now),
            self.configuration,
            notifications,
        )

    @property
    def site(self) -> Site:
        """The site in force now."""
        return self._live.site()

    def start(self) -> None:
        """Begin: recover what a dead process left, accept alerts, deliver messages. Raises Problem."""
        try:
            settle_restored(self.store, self.events, self._clock)
            self._tell_started()
            self.engine.start()
        except SQLAlchemyError as error:  # it was there a moment ago, when it was brought up to date
            raise self.store.unusable(error) from error
        self._intake.start()
        self._heartbeats.start()
        self._deliverer.start()
        self.control.denials.start()
        self.retention.start()
        self.configuration.start()

    def drain(self) -> None:
        """Be unready and take up no run, but go on with all else: `stop` follows."""
        self.engine.drain()

    def stop(self) -> None:
        """Accept nothing more, let the parts under way end, leave the rest for the next start."""
        timeout = self.site.platform.service.shutdown_seconds
        self.configuration.stop(timeout)
        self.retention.stop(timeout)
        self._heartbeats.stop(timeout)
        self._intake.stop()
        self.engine.stop(timeout)
        self._deliverer.stop(timeout)
        self.control.denials.stop(timeout)
        self.platforms.close()
        self.store.close()

    def _tell_started(self) -> None:
        in_force = {"version": version("uici"), "configuration": self._live.in_force.digest}
        with self.store.write() as connection:
            record(connection, Entry(at=self._clock.now(), kind="service_started", data=in_force))

    def _wake(self) -> None:
        self.engine.wake()
        self._deliverer.wake()


def _sound(catalogue: Catalogue, executors: Mapping[str, type[Executor]]) -> Callable[[Look], Site]:
    """Loading of sites whose verbs pass their own tests, with their secrets learned. It raises CatalogueError."""
    prover = VerbProver(executors)

    def load(look: Look) -> Site:
        site = catalogue.restore(look)
        if site is not None:
            prover.trust(site)
        else:
            site = catalogue.load(look)
            failures = prover.failures(site)
            if failures:
                raise CatalogueError(failure.diagnostic() for failure in failures)
            catalogue.keep(look, site)
        _learn_secrets(site)
        return site

    return load


def _seal(store: Store, site: Site) -> Seal | None:
    """Have the audit log's head sealed, where a key is configured. Raises Problem when there is no such secret."""
    key = site.platform.audit.seal
    if key is None:
        return None
    return seal_with(store, resolve(key, where="platform.yml: audit.seal").reveal())


def _learn_secrets(site: Site) -> None:
    """Resolve every secret once, so that none is shown before its environment is first used.

    What was stored before a restart may hold it: a service's log line, a label.
    """
    for environment in site.environments.values():
        wanted: JsonObject = {"connection": environment.connection}
        for name in ("prometheus", "alertmanager", "traffic"):
            server = getattr(environment, name)
            wanted[name] = server.model_dump(mode="json") if server is not None else None
        # A missing one is told where it is needed: that environment degrades alone.
        with suppress(Problem):
            resolve_tree(wanted)
    register_named([target.bindings for target in site.targets.values()])


def state_url(given: str | None, site: Site, directory: Path | None) -> str:
    """The state's URL with an absolute path.

    A relative path on the command line starts at the present folder; one in platform.yml at the configuration's folder,
    or without one at the user's state folder (https://specifications.freedesktop.org/basedir-spec/latest/).
    """
    url = parsed_url(given or site.platform.state)
    if url.get_backend_name() != "sqlite" or not url.database:
        return given or site.platform.state
    base = Path.cwd() if given else directory
    return str(url.set(database=str(((base or _user_folder()) / url.database).absolute())))


def _user_folder() -> Path:
    """Where this user's programs keep state."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "uici"


def _owned_folder(state: str) -> Path:
    """Where executors may keep files: beside the state's file, or where there is none in the user's state folder."""
    url = parsed_url(state)
    return Path(url.database or "").parent if url.get_backend_name() == "sqlite" else _user_folder()


@contextmanager
def open_state(config: Path | None, state: str | None) -> Iterator[tuple[Store, Seal | None]]:
    """A state, and what seals its audit log, for the command line beside a running service.

    Raises as `Application` does.
    """
    site = site_of(config)
    store = Store(state_url(state, site, config_directory(config)))
    store.migrate()
    try:
        yield store, _seal(store, site)
    finally:
        store.close()


def state_of(config: Path | None, state: str | None) -> str:
    """The URL of a state. Raises CatalogueError."""
    return state_url(state, site_of(config), config_directory(config))


def site_of(config: Path | None) -> Site:
    """A configuration, for the command line beside a running service. Raises CatalogueError."""
    return load_site(config_directory(config), executors=discover_executors())


@contextmanager
def open_tokens(config: Path | None, state: str | None) -> Iterator[TokenStore]:
    """The tokens of a state, as `open_state`."""
    with open_state(config, state) as (store, _):
        yield TokenStore(store)


@contextmanager
def offline_previews(config: Path | None) -> Iterator[Callable[[JsonObject, str | None], JsonObject]]:
    """Previews without a running service: the same road, over an empty state; the configuration is loaded once.

    What only the state knows (cooldowns, locks, freezes, runs of the last hour) is judged as if nothing had happened.
    """
    with tempfile.TemporaryDirectory(prefix="uici-preview-") as folder:
        application = Application(config, scratch=Path(folder))

        def preview(document: JsonObject, environment: str | None) -> JsonObject:
            shown = application.control.preview(document, environment)
            for item in shown.get("previews", []):
                item["notes"].append(
                    "offline: cooldowns, locks, freezes and limits of the running service are not known here, and the "
                    "platform is not asked what it would say"
                )
            return shown

        try:
            yield preview
        finally:
            application.platforms.close()
            application.store.close()
