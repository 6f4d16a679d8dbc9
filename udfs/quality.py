"""Rules for the quality of a text: measured values, the first rule that fails, and a score from 0 to 1.

The repetition rules follow Gopher (Rae et al. 2021, appendix A1.1), in units: words, or characters of an unspaced
script. Values are kept beside the text, so that other thresholds can be tried later without measuring again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.characters import (
    BROKEN,
    DIGIT,
    LETTER,
    MARK,
    PROSE,
    SPACE,
    UNSPACED,
    Characters,
    Floats,
    Mask,
    between,
    chunks,
    scramble,
    share,
    span_hashes,
)
from udfs.repetition import Units, repeats

Values = dict[str, Floats]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher's list
BULLETS = "-*+•‣●○▪■◦·"
SHARES = (
    "broken_share",
    "symbol_share",
    "digit_share",
    "repeated_line_share",
    "repeated_5_share",
    "repeated_10_share",
    "top_3_share",
    "bullet_line_share",
    "ellipsis_line_share",
)
MIN_LINES = 5
CHINESE_SIGNS = "。，、；：？！…“”《》（）．,;:?!"


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """The thresholds of the rules; a text on a threshold passes.

    Lengths are in units. A bound `*_unspaced` stands for texts mainly in an unspaced script. Rules on repetition and on
    a language's words leave texts of under `long_enough` units alone, rules on lines those of under 5 lines. The shares
    are wider than Gopher's, which are for whole web pages: formulas, code and statutes repeat and abbreviate more.
    On passages of 512 tokens from 11 collections (textbooks, exams, statutes, classics, algorithm notes) these bounds
    drop 0 to 6 % for other reasons than length, mostly markup, tables, code and formulas.
    """

    min_units: int = 20
    min_units_unspaced: int = 30
    max_units: int = 200_000
    max_broken_share: float = 0.01
    min_word_length: float = 1.3
    max_word_length: float = 12.0
    max_symbol_share: float = 0.4
    max_digit_share: float = 0.4
    max_repeated_line_share: float = 0.3
    max_repeated_5_share: float = 0.45
    max_repeated_10_share: float = 0.3
    max_top_3_share: float = 0.3
    max_bullet_line_share: float = 0.9
    max_ellipsis_line_share: float = 0.3
    min_stop_words: int = 1
    min_sign_share: float = 0.01
    long_enough: int = 50


def rule_values(texts: Sequence[str], langs: Sequence[str]) -> Values:
    """Measures every text; each value is float64 (n,).

    n_units, n_lines (without blank ones); unspaced_share of the units; word_length, the mean over spaced words; of the
    characters without whitespace, the shares broken_share (replacement, control and private characters), symbol_share
    (all but letters, digits and prose punctuation), digit_share and repeated_line_share (in lines that stood before);
    bullet_line_share and ellipsis_line_share of the lines; repeated_5_share and repeated_10_share of the units (inside
    a 5-gram or 10-gram that stood before) and top_3_share (of the most frequent repeated 3-gram); stop_words, how many
    of Gopher's eight occur, NaN unless "en"; sign_share, punctuation per unit, NaN unless "zh". Where an n-gram begins
    with an unspaced character, it has 2n units.
    """
    parts = [_measure(Characters.of([text.casefold() for text in chunk])) for chunk in chunks(texts)]
    if not parts:
        parts = [_measure(Characters.of([""]))]
    values = {name: np.concatenate([part[name] for part in parts])[: len(texts)] for name in parts[0]}
    codes = np.asarray(langs, dtype=object)
    values["stop_words"][codes != "en"] = np.nan
    values["sign_share"][codes != "zh"] = np.nan
    return values


def first_failure(
    values: Mapping[str, Floats], langs: Sequence[str], settings: QualitySettings | None = None
) -> list[str | None]:
    """The name of the first rule that each text fails, or None; names carry a version, since a rule may change.

    The rules on stop words and on punctuation judge English and Chinese alone.
    """
    codes = np.asarray(langs, dtype=object)
    reasons: NDArray[np.object_] = np.full(len(codes), None, dtype=object)
    for reason, failed in reversed(_failures(values, codes, settings or QualitySettings())):
        reasons[failed] = reason
    return list(reasons)


def quality_score(values: Mapping[str, Floats], settings: QualitySettings | None = None) -> Floats:
    """Our own score from 0 to 1, for ranking texts that pass the rules: a product of factors, each at most 1.

    Length n / (n + 3 min), so 1/4 at the minimum; 1 - x^2 / 2 with x = min(1, value / bound) for each share with an
    upper bound; for English (1 + min(1, stop words / 5)) / 2; for Chinese (1 + min(1, sign share / 0.1)) / 2.
    """
    settings = settings or QualitySettings()
    score = share(values["n_units"], values["n_units"] + 3 * _min_units(values, settings))
    for name in SHARES:
        bound = max(getattr(settings, f"max_{name}"), 1e-9)  # a bound of 0 is allowed
        score *= 1 - np.minimum(1, values[name] / bound) ** 2 / 2
    for name, enough in (("stop_words", 5), ("sign_share", 0.1)):
        factor = (1 + np.minimum(1, values[name] / enough)) / 2
        score *= np.where(np.isnan(factor), 1.0, factor)
    return score


def _failures(
    values: Mapping[str, Floats], codes: NDArray[np.object_], settings: QualitySettings
) -> list[tuple[str, Mask]]:
    over = {name: values[name] > getattr(settings, f"max_{name}") for name in SHARES}
    long_enough = values["n_units"] >= settings.long_enough
    many_lines = values["n_lines"] >= MIN_LINES
    spaced = values["unspaced_share"] < 0.2  # Chinese with formulas has words of one letter
    odd_length = (values["word_length"] < settings.min_word_length) | (values["word_length"] > settings.max_word_length)
    repetitive = over["repeated_5_share"] | over["repeated_10_share"] | over["top_3_share"]
    return [  # what a text consists of comes before its length: a line of symbols has few words too
        ("broken_characters_v1", over["broken_share"]),
        ("too_many_symbols_v1", over["symbol_share"]),
        ("too_many_digits_v1", over["digit_share"]),
        ("too_short_v1", values["n_units"] < _min_units(values, settings)),
        ("too_long_v1", values["n_units"] > settings.max_units),
        ("odd_word_length_v1", odd_length & spaced),
        ("repeated_lines_v1", over["repeated_line_share"] & many_lines),
        ("too_repetitive_v1", repetitive & long_enough),
        ("mostly_bullets_v1", over["bullet_line_share"] & many_lines),
        ("mostly_ellipses_v1", over["ellipsis_line_share"] & many_lines),
        ("no_stop_words_v1", (codes == "en") & (values["stop_words"] < settings.min_stop_words) & long_enough),
        ("no_punctuation_v1", (codes == "zh") & (values["sign_share"] < settings.min_sign_share) & long_enough),
    ]


def _min_units(values: Mapping[str, Floats], settings: QualitySettings) -> Floats:
    return np.where(values["unspaced_share"] < 0.5, settings.min_units, settings.min_units_unspaced)


def _measure(characters: Characters) -> Values:
    visible = ~characters.has(SPACE)
    n_visible = characters.count(visible)
    units = Units.of(characters)
    n_units = np.bincount(units.owner, minlength=len(characters.begins))
    n_single = np.bincount(units.owner[units.single], minlength=len(n_units))
    word_chars = characters.count(characters.has(LETTER | MARK | DIGIT) & ~characters.has(UNSPACED))
    symbols = visible & ~characters.has(LETTER | MARK | DIGIT | PROSE | BROKEN)
    signs = np.isin(characters.codes, [ord(sign) for sign in CHINESE_SIGNS])
    return {
        "n_units": n_units.astype(np.float64),
        "unspaced_share": share(n_single, n_units),
        "word_length": share(word_chars, n_units - n_single),
        "broken_share": share(characters.count(characters.has(BROKEN)), n_visible),
        "symbol_share": share(characters.count(symbols), n_visible),
        "digit_share": share(characters.count(characters.has(DIGIT)), n_visible),
        "repeated_5_share": share(units.repeated(5), n_units),
        "repeated_10_share": share(units.repeated(10), n_units),
        "top_3_share": share(units.most_frequent(3), n_units),
        "stop_words": units.distinct(STOP_WORDS),
        "sign_share": share(characters.count(signs), n_units),
        **_line_values(characters, visible),
    }


def _line_values(characters: Characters, visible: Mask) -> Values:
    """Values of the lines; whitespace inside them doesn't count."""
    n = len(characters.begins)
    rank = np.concatenate(([0], np.cumsum(visible)))
    breaks = np.flatnonzero(characters.codes == ord("\n"))
    begins = np.concatenate(([0], breaks + 1))
    owner = characters.owners(begins)
    first, last = rank[begins], rank[np.concatenate((breaks, [len(visible)]))]
    owner, first, last = (array[last > first] for array in (owner, first, last))
    codes = characters.codes[visible]
    again, _ = repeats(owner, span_hashes(scramble(codes), first, last))
    dots = between(codes == ord("."), np.maximum(first, last - 3), last) == 3
    bullets = np.isin(codes[first], [ord(sign) for sign in BULLETS])
    n_lines = np.bincount(owner, minlength=n)
    repeated_chars = np.bincount(owner[again], weights=(last - first)[again], minlength=n)
    return {
        "n_lines": n_lines.astype(np.float64),
        "repeated_line_share": share(repeated_chars, characters.count(visible)),
        "bullet_line_share": share(np.bincount(owner[bullets], minlength=n), n_lines),
        "ellipsis_line_share": share(np.bincount(owner[dots | (codes[last - 1] == ord("…"))], minlength=n), n_lines),
    }
