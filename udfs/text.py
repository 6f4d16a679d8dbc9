"""The text itself: its normal form, its keys, and its words and sentences in English, Chinese and scripts like them."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from udfs.characters import LETTER, UNSPACED, Characters

# A Han character carries more than a Latin letter: at this share of the letters about half of the words are unspaced.
UNSPACED_SHARE = 0.3

_OPENERS = "\"'([{*_`$“‘「『《（【"
_CLOSERS = "\"')\\]}*_`”’」』》）】"
_STOP = re.compile(
    rf"(?:[。！？｡]|．(?![0-9０-９]))+[{_CLOSERS}]*"
    rf"|[.!?…]+[{_CLOSERS}]*(?=\s|$)"
    r"|(?<=[\u2E80-\u9FFF])[!?]+"
    r"|\n[^\S\n]*(?=\n|[-*+>|] |#{1,6} |\d{1,3}[.)] |$)"
    r"|^#{1,6} [^\n]*(?=\n)",
    re.MULTILINE,
)
_GOES_ON = tuple("=+<>/\\&}^%~|,;:)")  # formulas: "5! = 120"
_NOT_AN_END = re.compile(
    r"(?:\b(?:[A-Z]|(?i:al|approx|capt|cf|ch|col?|corp|dept|dr|eds?|eqs?|etc|ex|figs?|gen|gov|hon|inc|jr|lt|ltd|max|min"
    r"|mrs?|ms|mt|nos?|pp?|prof|pt|rep|resp|rev|sec|sen|sgt|sr|st|univ|viz|vols?|vs"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec))"
    r"|(?:^|\n)\s*\d{1,3})$"
)


def normalise(text: str) -> str:
    """The form in which exact duplicates are equal: NFKC, case folded, each run of whitespace one space.

    No space is left at the ends. Normalising twice changes nothing.
    """
    if not text.isascii():
        # Folding can undo NFKC and NFKC can make new capitals, hence once more (Unicode 3.13, D147).
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.casefold().split())


def stable_id(*parts: str) -> str:
    """A key of 32 hex digits: the first 128 bits of sha256 over the parts.

    Each part goes in as its UTF-8 length (8 bytes, big-endian) and its bytes, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()[:32]


def text_hash(text: str) -> str:
    """The first 128 bits of the text's sha256 as 32 hex digits; in Spark SQL: left(sha2(text, 256), 32)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def normal_hash(text: str) -> str:
    """`text_hash` of the normal form: equal for exact duplicates."""
    return text_hash(normalise(text))


def is_unspaced(text: str) -> bool:
    """Whether the text is mainly in a script without spaces between words, by that script's share of the letters."""
    characters = Characters.of([text])
    letters = characters.has(LETTER)
    return bool((letters & characters.has(UNSPACED)).sum() > UNSPACED_SHARE * letters.sum())


def words(text: str) -> list[str]:
    """The text's words without punctuation; each character of an unspaced script is a word of its own."""
    begins, ends = Characters.of([text]).units()
    return [text[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def sentences(text: str) -> list[str]:
    """The sentences of English or Chinese text, without the whitespace around them."""
    return [text[begin:end] for begin, end in sentence_spans(text)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Begin and end (exclusive) of each sentence as character offsets; together they hold all but whitespace.

    A sentence ends at Chinese or Western end signs with the quotes that close after them, before a blank line, a list
    item or a heading, and after a heading. A full stop does not end one after an abbreviation, an initial or a list
    number, and no Western sign does before a small letter or the rest of a formula.
    """
    cuts = [match.end() for match in _STOP.finditer(text) if _ends_sentence(text, match)]
    spans = []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        piece = text[begin:end]
        if body := piece.strip():
            first = begin + len(piece) - len(piece.lstrip())
            spans.append((first, first + len(body)))
    return spans


def _ends_sentence(text: str, stop: re.Match[str]) -> bool:
    signs = stop.group()
    if signs[0] not in ".!?…":
        return True
    following = text[stop.end() : stop.end() + 8].lstrip().lstrip(_OPENERS)[:1]
    if following.islower() or following in _GOES_ON:
        return False
    if signs[0] != "." or signs.startswith(".."):
        return True
    return _NOT_AN_END.search(text, max(0, stop.start() - 16), stop.start()) is None
