"""Long texts cut into passages within a token bound: at paragraph ends, else at line or sentence ends, else anywhere."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from udfs.text import sentence_spans
from udfs.tokens import TokenCounter

Span = tuple[int, int]

_PARAGRAPH_END_OR_FENCE = re.compile(r"^[^\S\n]*(?:```|~~~)|\n(?:[^\S\n]*\n)+", re.MULTILINE)
_LINE_END = re.compile(r"\n")
_CLAUSE_END = re.compile(r"[，；、：]|\s+")
_HEADING = re.compile(
    r"#{1,6}\s[^\n]*"
    r"|第[0-9零〇一二三四五六七八九十百千]{1,6}[编章节回卷篇][^\n。]{0,40}"
    r"|(?!\s*[-*+>|]\s)[^\n]{1,80}(?<![.!?:;,…。！？：；，、．)\]}`|$])"
)
_MAX_HEADINGS = 3  # lines of code and verse look like headings too


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage: `parent[offset : offset + len(text)] == text`, in characters (code points), no outer whitespace."""

    offset: int
    text: str
    n_tokens: int


def split_passages(text: str, max_tokens: int, count: TokenCounter) -> list[Passage]:
    """Cuts the text into passages of at most `max_tokens` by the counter; every character but whitespace is in one.

    A text within the bound stays whole; a blank one gives none. Otherwise passages get about equal sizes, so that no
    short paragraph is left over at the end; they end at paragraph ends, and only a paragraph over the bound is cut at
    its lines, sentences, clauses or characters, the first of these that helps. A heading stays with what follows it.
    Raises ValueError for a bound under 1 or under the tokens of one of the text's characters.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; a passage needs at least 1 token")
    splitter = _Splitter(text, max_tokens, count)
    return [Passage(begin, text[begin:end], splitter.sizes[begin, end]) for begin, end in splitter.passages()]


class _Splitter:
    """The work on one text. `sizes` holds the tokens of every span counted so far."""

    def __init__(self, text: str, max_tokens: int, count: TokenCounter) -> None:
        self.text, self.max_tokens, self.count = text, max_tokens, count
        self.sizes: dict[Span, int] = {}

    def passages(self) -> list[Span]:
        pieces = self._trimmed(0, len(self.text))
        for cut in (self._paragraphs, self._lines, self._sentences):
            pieces = self._cut_long(pieces, cut)
        while self._any_long(pieces):
            pieces = self._cut_long(pieces, self._halves)
        groups = list(self._grouped(pieces))
        # Tokens of a whole can be more than the sum over its pieces, so each group is counted itself.
        while self._any_long(_covers(groups)):
            groups = [part for group in groups for part in self._parted(group)]
        return _covers(groups)

    def _any_long(self, spans: list[Span]) -> bool:
        new = [span for span in spans if span not in self.sizes]
        if new:
            self.sizes.update(zip(new, self.count([self.text[begin:end] for begin, end in new]), strict=True))
        return any(self.sizes[span] > self.max_tokens for span in spans)

    def _cut_long(self, spans: list[Span], cut: Callable[[Span], list[Span]]) -> list[Span]:
        if not self._any_long(spans):
            return spans
        return [part for span in spans for part in (cut(span) if self.sizes[span] > self.max_tokens else [span])]

    def _parted(self, group: list[Span]) -> list[list[Span]]:
        if len(group) == 1 or self.sizes[group[0][0], group[-1][1]] <= self.max_tokens:
            return [group]
        middle = len(group) // 2
        return [group[:middle], group[middle:]]

    def _grouped(self, pieces: list[Span]) -> Iterator[list[Span]]:
        """Fills each group up to an equal share of what is left."""
        left = sum(self.sizes[piece] + 1 for piece in pieces)  # 1 for the whitespace between
        begin = 0
        while begin < len(pieces):
            share = left / max(1, math.ceil((left - 1) / self.max_tokens))
            end, size = begin + 1, self.sizes[pieces[begin]] + 1
            while end < len(pieces):
                more = self.sizes[pieces[end]] + 1
                filled = size + more / 2 > share and not self._is_heading(pieces[end - 1])
                if filled or size + more - 1 > self.max_tokens:
                    break
                end, size = end + 1, size + more
            end = self._before_headings(pieces, begin, end)
            yield pieces[begin:end]
            left -= sum(self.sizes[piece] + 1 for piece in pieces[begin:end])
            begin = end

    def _before_headings(self, pieces: list[Span], begin: int, end: int) -> int:
        if end == len(pieces):
            return end
        first = end
        while first - 1 > begin and end - first < _MAX_HEADINGS and self._is_heading(pieces[first - 1]):
            first -= 1
        return first

    def _is_heading(self, piece: Span) -> bool:
        return _HEADING.fullmatch(self.text, *piece) is not None

    def _paragraphs(self, span: Span) -> list[Span]:
        return self._at(span, _paragraph_ends(self.text, span))

    def _lines(self, span: Span) -> list[Span]:
        return self._at(span, (match.end() for match in _LINE_END.finditer(self.text, *span)))

    def _sentences(self, span: Span) -> list[Span]:
        return [(span[0] + begin, span[0] + end) for begin, end in sentence_spans(self.text[slice(*span)])]

    def _halves(self, span: Span) -> list[Span]:
        begin, end = span
        if end - begin == 1:
            raise ValueError(
                f"max_tokens is {self.max_tokens}, but the character at offset {begin} alone has {self.sizes[span]}"
            )
        middle, quarter = (begin + end) // 2, (end - begin) // 4
        clauses = (match.end() for match in _CLAUSE_END.finditer(self.text, middle - quarter, middle + quarter))
        cut = min(clauses, key=lambda position: abs(position - middle), default=0) or self._after_marks(middle, end)
        return self._at(span, [cut])

    def _after_marks(self, middle: int, end: int) -> int:
        cut = middle
        while cut < end and unicodedata.category(self.text[cut])[0] == "M":
            cut += 1
        return cut if cut < end else middle

    def _at(self, span: Span, cuts: Iterable[int]) -> list[Span]:
        return [part for begin, end in pairwise((span[0], *cuts, span[1])) for part in self._trimmed(begin, end)]

    def _trimmed(self, begin: int, end: int) -> list[Span]:
        """The span without outer whitespace, or no span where nothing else is in it."""
        piece = self.text[begin:end]
        body = piece.strip()
        begin += len(piece) - len(piece.lstrip())
        return [(begin, begin + len(body))] if body else []


def _covers(groups: list[list[Span]]) -> list[Span]:
    return [(group[0][0], group[-1][1]) for group in groups]


def _paragraph_ends(text: str, span: Span) -> Iterator[int]:
    """Blank lines, but not those inside a fenced block."""
    fenced = False
    for match in _PARAGRAPH_END_OR_FENCE.finditer(text, *span):
        if not match.group().isspace():
            fenced = not fenced
        elif not fenced:
            yield match.end()
