"""Loading a site: read, overlay, shape, meaning. All problems are found before any is raised.

A second time only what changed is read, and only what depends on it is checked again; the answer is the same as if
everything had been.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from pathlib import Path

from uici.catalogue.cache import Kept, SiteCache
from uici.catalogue.detection import choose_environment, detect_platform
from uici.catalogue.diagnostics import CatalogueError, Diagnostic, Report
from uici.catalogue.documents import Documents
from uici.catalogue.draft import Draft, Lookup, Verb, covered
from uici.catalogue.following import differing
from uici.catalogue.guides import Guides
from uici.catalogue.operation_checks import check_among_others, named_operations, same_to_others
from uici.catalogue.place_checks import AUTO
from uici.catalogue.reading import is_readable
from uici.catalogue.rule_checks import check_rules
from uici.catalogue.sharing import read_verb_files
from uici.catalogue.tree import Look, Stamp, Tree
from uici.catalogue.verbs import (
    NOTHING_TABLED,
    Translations,
    VerbReading,
    check_table,
    read_verb_file,
    table_translations,
    table_verbs,
)
from uici.model.collecting import uncollected
from uici.model.operation import Operation
from uici.model.site import Site, VerbTest
from uici.ports import Executor

_WORTH_KEEPING = 200
"""Added verbs. Fewer are loaded in less than a second, for which no file need be written."""


def load_site(config_dir: Path | None, *, executors: Mapping[str, type[Executor]]) -> Site:
    """The shipped defaults with the tree in `config_dir` over them, checked as a whole.

    `executors` are the installed ones by platform. Raises CatalogueError with every problem found.
    """
    return Catalogue(Tree(config_dir), executors=executors).load()


class Catalogue:
    """Loads one tree again and again. Not for several threads at once."""

    def __init__(self, tree: Tree, *, executors: Mapping[str, type[Executor]], cache: SiteCache | None = None) -> None:
        """`executors` are the installed ones by platform; in `cache` sites are kept from one start to the next."""
        self.tree = tree
        self._cache = cache
        self._covered: Set[str] = frozenset()
        self._executors = executors
        self._documents = Documents(tree.directory, executors)
        self._guides = Guides(tree)
        self._draft: Draft | None = None
        self._tabled: dict[str, Translations] = {}
        self._table: dict[str, Verb] = {}
        self._table_problems: tuple[Diagnostic, ...] = ()
        self._files: dict[str, tuple[Stamp, VerbReading]] = {}
        self._each_its_own = False
        """Whether each of these files held a verb that nothing else defines, at the last load."""
        self._looked: Mapping[str, Stamp] = {}
        """The verb files of the last load, with their stamps."""
        self._verbs: dict[str, Verb] = {}
        self._faulty: Set[str] = frozenset()
        """Those of them that have problems of their own."""
        self._handed_out: tuple[dict[str, Operation], dict[str, tuple[VerbTest, ...]]] | None = None
        """Operations and tests of the last load, when it was sound."""
        self._unsound: dict[str, tuple[Diagnostic, ...]] = {}
        self._rule_problems: tuple[Diagnostic, ...] = ()

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The verbs of the last load, sound or not."""
        return self._verbs

    def load(self, look: Look | None = None) -> Site:
        """The site as it lies there now, or lay at `look`. Raises CatalogueError with every problem found."""
        look = self.tree.look() if look is None else look
        with uncollected(to_stay=not self._verbs and len(look.verbs) >= _WORTH_KEEPING):
            return self._load(look)

    def restore(self, look: Look) -> Site | None:
        """The site that was kept for exactly this content, before anything was loaded; None when there is none."""
        if self._cache is None or self._verbs or len(look.verbs) < _WORTH_KEEPING:
            return None
        with uncollected(to_stay=True):
            kept = self._cache.read(self._cache.key(self.tree.digest(look)))
        if kept is None:
            return None
        site = kept.site
        if kept.default_environment == AUTO:
            chosen = choose_environment(site.environments, detect_platform())
            if chosen is None:
                return None
            because = f"auto: {chosen[1].evidence}"
            site = site.model_copy(update={"default_environment": chosen[0], "default_because": because})
        self._verbs = dict(kept.verbs)
        self._covered = covered(site.environments, site.targets, kept.default_environment, self._executors)
        of_files = {verb.key.file: verb for verb in kept.verbs.values()}
        self._files = {
            path: (stamp, VerbReading(of_files[path], NOTHING_TABLED))
            for path, stamp in look.verbs.items()
            if path in of_files
        }
        return site

    def keep(self, look: Look, site: Site) -> None:
        """Keep `site`, which was loaded at `look` and is sound to the last of its tests, for the next start."""
        cache, draft = self._cache, self._draft
        if cache is not None and draft is not None and len(look.verbs) >= _WORTH_KEEPING:
            # Once: writing thousands of verbs takes longer than the reload of one.
            self._cache = None
            kept = Kept(site, draft.default_environment, self._verbs)
            cache.write(cache.key(self.tree.digest(look)), kept)

    def _load(self, look: Look) -> Site:
        # Until this load has come to its end, what is known of the verbs is of no one load.
        each_its_own, self._each_its_own = self._each_its_own, False
        draft = self._documents.draft(look.documents)
        fresh = draft is not self._draft
        report = Report()
        report.extend(draft.report)
        if fresh:
            self._read_tables(draft)
        report.extend(self._table_problems)
        for folder in self.tree.verb_folders():
            is_readable(folder, report)
        written = self._written_anew(look) if each_its_own and not fresh else None
        if written is None:
            verbs, each_its_own = self._all_verbs(look, report, fresh=fresh)
        else:
            verbs = self._verbs | {reading.verb.name: reading.verb for reading in written.values() if reading.verb}
            self._files.update({path: (look.verbs[path], reading) for path, reading in written.items()})
        check_table(draft.translation_entries, verbs, report)
        changed, gone = self._changed(verbs)
        self._faulty = {name for name in self._faulty - changed if name in verbs}
        self._faulty |= {name for name in changed if verbs[name].diagnostics}
        for name in verbs if self._faulty else ():
            if name in self._faulty:
                report.extend(verbs[name].diagnostics)
        self._check_meaning(draft, verbs, changed, gone, fresh=fresh)
        handed_out, self._handed_out = self._handed_out, None
        self._draft, self._verbs, self._covered = draft, verbs, draft.platforms
        self._each_its_own, self._looked = each_its_own, look.verbs
        for problems in self._unsound.values():
            report.extend(problems)
        report.extend(self._rule_problems)
        guides = self._guides.load(look.guides, draft, report)
        default, because = _default_environment(draft, report)
        if report:
            raise CatalogueError(report)
        operations, tests = self._handed_out = _to_hand_out(verbs, changed | gone, handed_out)
        # Each part was validated when it was read; validating thousands again would take longer than reading a change.
        return Site.model_construct(
            platform=draft.platform,
            default_environment=default,
            default_because=because,
            environments=draft.environments,
            targeting=draft.targeting,
            targets=draft.targets,
            operations=operations,
            findings=draft.findings,
            strategies=draft.strategies,
            policies=draft.policies,
            verb_tests=tests,
            guides=guides,
        )

    def _read_tables(self, draft: Draft) -> None:
        report = Report()
        self._tabled = table_translations(draft.translation_entries, report)
        self._table = table_verbs(draft, self._tabled, report)
        self._table_problems = tuple(report)

    def _all_verbs(self, look: Look, report: Report, *, fresh: bool) -> tuple[dict[str, Verb], bool]:
        """Every verb by name, those of operations.yml first, and whether each file holds one that is defined nowhere
        else. A name that two places define is an error naming both.
        """
        verbs = dict(self._table)
        files = self._kept_files(look, fresh=fresh)
        each_its_own = True
        for _, reading in files.values():
            verb = reading.verb
            if verb is None:
                each_its_own = False
                report.extend(reading.diagnostics)
                continue
            first = verbs.setdefault(verb.name, verb)
            if first is not verb:
                each_its_own = False
                report.add(
                    verb.key, "duplicate_operation", f"the verb {verb.name!r} is defined twice; first at {first.key}"
                )
        self._files = files
        return verbs, each_its_own

    def _kept_files(self, look: Look, *, fresh: bool) -> dict[str, tuple[Stamp, VerbReading]]:
        """The reading of each file, in their order; what is known of one that did not change is not read again."""
        files: dict[str, tuple[Stamp, VerbReading]] = {}
        wanted: list[tuple[str, Translations]] = []
        for path, stamp in look.verbs.items():
            kept = self._files.get(path)
            if fresh or kept is None or kept[0] != stamp:
                tabled = self._tabled.get(os.path.basename(path).removesuffix(".yml"), NOTHING_TABLED)
                if kept is None or kept[0] != stamp or kept[1].tabled is not tabled:
                    wanted.append((path, tabled))
                    continue
            files[path] = kept
        if not wanted:
            return files
        found = read_verb_files(wanted, self._executors)
        return {path: files[path] if path in files else (look.verbs[path], found[path]) for path in look.verbs}

    def _written_anew(self, look: Look) -> dict[str, VerbReading] | None:
        """Of the same files as before those that hold something else; None where more than that may have changed.

        So a reload costs what changed, and hardly anything for the thousands that did not.
        """
        changed = differing(look.verbs, self._looked)
        if changed is None:
            return None
        found: dict[str, VerbReading] = {}
        for path in changed:
            reading = read_verb_file(path, self._executors, self._files[path][1].tabled)
            if reading.verb is None:
                return None
            found[path] = reading
        return found

    def _changed(self, verbs: Mapping[str, Verb]) -> tuple[Set[str], Set[str]]:
        """The names of the verbs that are other than at the last load, and of those that are gone."""
        former = self._verbs
        others = differing(verbs, former)
        if others is not None:
            return set(others), set()
        return {name for name, verb in verbs.items() if former.get(name) is not verb}, former.keys() - verbs.keys()

    def _check_meaning(
        self, draft: Draft, verbs: Mapping[str, Verb], changed: Set[str], gone: Set[str], *, fresh: bool
    ) -> None:
        """Check again what may mean something else now: what changed, and what names something that changed."""
        former = self._verbs
        felt = {name for name in changed | gone if not same_to_others(former.get(name), verbs.get(name))}
        stale: Set[str]
        if draft.platforms != self._covered:
            stale = set(verbs)
        else:
            stale = changed | (self._unsound.keys() & verbs.keys())
            if felt:
                stale |= {
                    name
                    for name, verb in verbs.items()
                    if verb.operation is not None and not felt.isdisjoint(named_operations(verb.operation))
                }
        for name in stale | gone:
            self._unsound.pop(name, None)
        for name in stale:
            lookup = Lookup(verbs, Report())
            check_among_others(lookup, verbs[name], draft.platforms)
            if lookup.report:
                self._unsound[name] = tuple(lookup.report)
        if fresh or felt or self._rule_problems:
            lookup = Lookup(verbs, Report())
            check_rules(draft, lookup)
            self._rule_problems = tuple(lookup.report)


def _to_hand_out(
    verbs: Mapping[str, Verb],
    changed: Set[str],
    before: tuple[dict[str, Operation], dict[str, tuple[VerbTest, ...]]] | None,
) -> tuple[dict[str, Operation], dict[str, tuple[VerbTest, ...]]]:
    """The operations and tests of sound verbs, in their order; those of `before` but for what changed."""
    operations = {name: op for name in changed if (verb := verbs.get(name)) and (op := verb.operation) is not None}
    tests = {name: verb.tests for name in changed if (verb := verbs.get(name)) and verb.tests}
    if before is not None and changed <= before[0].keys() and changed == operations.keys():
        tested = changed & before[1].keys()
        if tested == tests.keys():
            return before[0] | operations, before[1] | tests
    return (
        {name: verb.operation for name, verb in verbs.items() if verb.operation is not None},
        {name: verb.tests for name, verb in verbs.items() if verb.tests},
    )


def _default_environment(draft: Draft, report: Report) -> tuple[str, str]:
    """The name that is written, or what `auto` means here and now; and why."""
    if draft.default_environment != AUTO or report:
        return draft.default_environment, "environments.yml says so"
    chosen = choose_environment(draft.environments, detect_platform())
    if chosen is None:
        report.add(
            draft.default_position,
            "nothing_detected",
            "default: auto found no environment for the platform that UICI runs on; name one",
            choices=tuple(draft.environments),
        )
        return AUTO, ""
    return chosen[0], f"auto: {chosen[1].evidence}"
