"""Guides that agent-0 quotes: sentences of Markdown files, found by their words, their headings and their titles.

They are the site's, written for all, and kept apart from what users told: in a file of their own, which is made of the
files again whenever these change. No user can change or forget them.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from markdown_it import MarkdownIt
from markdown_it.token import Token

from council.memory.guide_index import GuideIndex, IndexAwayError, IndexLostError, Section, Sentence
from council.memory.texts import Language, Question, sentences
from uici.catalogue.diagnostics import CatalogueError, Report
from uici.catalogue.guides import read_guides
from uici.catalogue.reading import is_readable
from uici.catalogue.tree import Stamp, listed
from uici.model.base import canonical_json
from uici.model.guide import Guide

_log = structlog.get_logger(__name__)
_CANDIDATES = 20
_LEAST = 0.5
_SETTLE_SECONDS = 0.05
_AWAY_SECONDS = 1.0
_LONGEST_COMMAND = 300


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence of a guide that answers a question."""

    section: Section
    sentence: Sentence
    confidence: float

    @property
    def answer(self) -> str:
        """The sentence as it was written, and where."""
        return quote_of(self.section, self.sentence)


@dataclass(frozen=True, slots=True)
class Passage:
    """A section of a guide that is about a question."""

    guide: str
    text: str

    def __str__(self) -> str:
        return self.text


class Guides:
    """The guides of a folder. Methods block; safe from several threads, and from several processes on one index."""

    def __init__(
        self,
        index: GuideIndex,
        folder: Path,
        language: Language,
        look_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises CatalogueError with every problem of the files. An index that is away may come."""
        self._folder = folder
        self._index = index
        self._language = language
        self._look_seconds = look_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._judged: Mapping[str, Stamp] | None = _look(folder)
        self._looked_at = clock()
        self._away_until = self._looked_at
        self._guides = read_folder(folder)
        try:
            self._write()
        except IndexAwayError as error:
            self._away(error)

    def quoted(self, question: Question) -> Quote | None:
        """The sentence that answers best; None when none does.

        What the title does not say already, the sentence and its headings have to say for the most part: a guide about
        the payment service does not answer every question about that service.
        """
        best: Quote | None = None
        best_rank = (0.0, 0.0)
        for section in self._found([*question.subject, *question.kinds]):
            title = frozenset(self._language.stems(section.title))
            heading = frozenset(self._language.stems(section.heading))
            rest = Question(question.subject - title, question.kinds)
            for sentence in section.sentences:
                own = frozenset(self._language.stems(sentence.words))
                if not self._says(question, rest, own, own | heading):
                    continue
                rank = (self._language.coverage(question, own | heading | title), len(question.subject & own))
                if rank > best_rank:
                    best, best_rank = Quote(section, sentence, rank[0]), rank
        return best

    def passages(self, question: Question, most: int) -> list[Passage]:
        """Sections that have more than half of what is asked, with their headings and titles; the best first."""
        found: list[tuple[float, int, Section]] = []
        for number, section in enumerate(self._found([*question.subject, *question.kinds])):
            own = frozenset(self._stems(section))
            title = frozenset(self._language.stems(section.title))
            covered = self._language.coverage(question, own)
            # Naming what a guide is about is not asking for all that stands in it.
            if covered > _LEAST and (question.subject <= title or question.subject & (own - title)):
                found.append((-covered, number, section))
        return [Passage(section.guide, _passage_of(section)) for *_, section in sorted(found)[:most]]

    def quotes(self, text: str) -> bool:
        """Whether a text is only what stands in a guide, or an answer made of it: nothing that somebody tells."""
        plain = _plain(text)
        return any(
            plain in (_plain(sentence.words), _plain(str(sentence)), _plain(quote_of(section, sentence)))
            for section in self._found(self._language.stems(text))
            for sentence in section.sentences
        )

    def close(self) -> None:
        """Let go of the index."""
        with self._lock:
            self._index.close()

    def _says(self, question: Question, rest: Question, own: frozenset[str], near: frozenset[str]) -> bool:
        # Of the kind that is asked for, the sentence itself must have one.
        if question.kinds and self._language.coverage(question, own | question.subject) < 1:
            return False
        if not rest.subject:
            return bool(question.subject & own)
        return len(rest.subject & near) / len(rest.subject) > 0.5

    def _found(self, stems: Iterable[str]) -> list[Section]:
        wanted = list(dict.fromkeys(stems))
        with self._lock:
            if not wanted or self._clock() < self._away_until:
                return []
            try:
                self._follow()
                try:
                    return self._index.found(wanted, _CANDIDATES)
                except IndexLostError:
                    self._write()
                    return self._index.found(wanted, _CANDIDATES)
            except (IndexAwayError, IndexLostError) as error:
                self._away(error)
                return []

    def _follow(self) -> None:
        """Take up what changed, once two looks in a row see the same: whoever writes a file may be half done."""
        if self._judged is not None and self._clock() - self._looked_at < self._look_seconds:
            return
        self._looked_at = self._clock()
        now = _look(self._folder)
        if now == self._judged:
            return
        time.sleep(_SETTLE_SECONDS)
        if _look(self._folder) != now:
            return
        try:
            self._guides = read_folder(self._folder)
        except CatalogueError as error:
            first, count = str(error.diagnostics[0]), len(error.diagnostics)
            _log.warning("guides_rejected", problems=count, first=first, folder=str(self._folder))
        self._write()
        self._judged = now

    def _write(self) -> None:
        """Have the index hold the guides; another process may have been quicker."""
        sections = [section for guide in self._guides.values() for section in sections_of(guide)]
        documents = [guide.model_dump(mode="json") for guide in self._guides.values()]
        digest = hashlib.sha256(canonical_json([self._language.key, documents]).encode()).hexdigest()
        if self._index.replace(digest, ((section, self._stems(section)) for section in sections)):
            _log.info("guides_indexed", guides=len(self._guides), folder=str(self._folder))

    def _stems(self, section: Section) -> list[str]:
        return self._language.stems(
            " ".join((section.title, section.heading, *(sentence.words for sentence in section.sentences)))
        )

    def _away(self, error: Exception) -> None:
        """Answer without guides for a while, and write the index again then."""
        _log.warning("guides_away", error=str(error) or type(error).__name__)
        self._away_until = self._clock() + max(self._look_seconds, _AWAY_SECONDS)
        self._judged = None


def read_folder(folder: Path) -> dict[str, Guide]:
    """The guides of a folder. Raises CatalogueError with every problem."""
    report = Report()
    is_readable(folder, report)
    guides = read_guides(_look(folder), report)
    if report:
        raise CatalogueError(report)
    return guides


def sections_of(guide: Guide) -> list[Section]:
    """The sections of a guide that say something, in their order."""
    headings: list[tuple[int, str]] = []
    sections: list[tuple[str, list[Sentence]]] = [("", [])]
    level = 0
    for token in MarkdownIt("commonmark").enable("table").parse(guide.text):
        said = sections[-1][1]
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type == "inline" and level:
            headings = [(above, text) for above, text in headings if above < level] + [(level, _text(token))]
            sections.append((" / ".join(text for _, text in headings), []))
            level = 0
        elif token.type == "inline":
            said += map(Sentence, sentences(_text(token)))
        elif token.type in ("fence", "code_block") and said and said[-1].words.endswith(":"):
            said[-1] = Sentence(said[-1].words, " ".join(token.content.split())[:_LONGEST_COMMAND])
    return [Section(guide.name, guide.title, heading, tuple(said)) for heading, said in sections if said]


def quote_of(section: Section, sentence: Sentence) -> str:
    """How a sentence is quoted."""
    return f"{sentence} (guide {section.guide}: {section.title})"


def _passage_of(section: Section) -> str:
    where = f"{section.title} / {section.heading}" if section.heading else section.title
    return f"{where} (guide {section.guide}): {' '.join(map(str, section.sentences))}"


def _text(token: Token) -> str:
    """What is read of a line: its words, and code as such."""
    parts = []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        else:
            parts.append(f"`{child.content}`" if child.type == "code_inline" else child.content)
    return " ".join("".join(parts).split())


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _look(folder: Path) -> dict[str, Stamp]:
    return listed(folder, (".md",))
