"""Texts that are Markdown or HTML inside another format, or Markdown with raw HTML in it: the words without the marks.

A whole page of HTML is `etl.readers.html_pages`, which also leaves out menus. Here nothing but marks is left out, so that no sentence is lost.
"""

from __future__ import annotations

import html
import re
from dataclasses import replace

from etl.readers.mapping import MappedRecord
from etl.readers.markdown import without_front_matter
from etl.readers.record import BadRecord

# Known names only: `vector<int>` and `a < b > c` are text.
_INLINE = "a|abbr|b|big|cite|code|del|dfn|em|font|i|img|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr"
_MATHML = "annotation|math|m(?:enclose|fenced|frac|i|n|o|over|padded|phantom|root|row|s|space|sqrt|style|sub|subsup|sup|table|td|text|tr|under|underover)"
_BLOCK = (
    "address|article|aside|blockquote|body|br|caption|center|col|colgroup|dd|details|div|dl|dt|figcaption|figure|footer|h[1-6]|header|hr|li|main"
    "|nav|ol|p|pre|section|summary|table|tbody|tfoot|thead|ul"
)
_LITERAL = re.compile(  # code and formulas
    r"(^[^\S\n]*(```|~~~).*?(?:^[^\S\n]*\2[^\S\n]*$|\Z)|`[^`\n]+`|\$\$.*?\$\$|\$(?![\s$])[^$\n]+(?<!\s)\$(?!\d))",
    re.DOTALL | re.MULTILINE,
)
_UNSEEN = re.compile(r"<!--.*?-->|<(script|style|cnx-pi)\b[^>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_ROW = re.compile(r"\s*<tr\b[^<>]*>(.*?)</tr\s*>", re.DOTALL | re.IGNORECASE)
_CELL = re.compile(r"<t[dh]\b[^<>]*>", re.IGNORECASE)
_BREAK = re.compile(rf"\s*</?(?:{_BLOCK})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_TAG = re.compile(rf"</?(?:{_INLINE}|td|th|tr)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_MATH_TAG = re.compile(rf"(?:\s*</?(?:m:)?(?:{_MATHML})(?:\s[^<>]*)?/?>\s*)+", re.IGNORECASE)
_ATTRIBUTES = re.compile(r"\{:[^{}\n]*\}|(?<=[ \t])\{#[\w.:-]+\}[ \t]*$", re.MULTILINE)  # of kramdown and pandoc
_LINK = re.compile(r"(!?)\[((?:\\.|[^\[\]\\\n])*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"((?:\\.|[^\"\\])*)\")?\)")
_BLANKS = re.compile(r"[^\S\n]*\n(?:[^\S\n]*\n)+")


def cleaned(record: MappedRecord | BadRecord, markup: str) -> MappedRecord | BadRecord:
    """The record with its text, question and answer as plain text; `markup` is none, html or markdown.

    Errors: a bad record `empty_text` where nothing but marks was there.
    """
    if markup == "none" or isinstance(record, BadRecord):
        return record
    plain = plain_markdown if markup == "markdown" else plain_html
    made = replace(record, text=plain(record.text), question=plain(record.question), answer=plain(record.answer))
    if not made.text or (record.question and not made.question):
        return BadRecord(
            record.position, "empty_text", f"nothing is left without its {markup} marks", record.text[:2000]
        )
    return made


def plain_html(text: str) -> str:
    """The words of an HTML fragment: blocks become paragraphs, cells of a table ` | `, entities characters; unknown tags stay."""
    return _tidy(_without_tags(text))


def plain_markdown(text: str) -> str:
    """Markdown without front matter, raw HTML, attribute lists and the addresses of links and images; code, formulas and all else stay as they are."""
    parts = _LITERAL.split(without_front_matter(text))
    # Of three parts the second is code or a formula and the third the fence that began it.
    plain = (
        part if at % 3 == 1 else _LINK.sub(_words_of, _ATTRIBUTES.sub("", _without_tags(part)))
        for at, part in enumerate(parts)
        if at % 3 < 2
    )
    return _tidy("".join(plain))


def _words_of(link: re.Match[str]) -> str:
    # The title of a figure is its caption, that of a link a hint.
    return f"{link[2]} {link[3]}".replace('\\"', '"').strip() if link[1] and link[3] else link[2]


def _without_tags(text: str) -> str:
    if "<" in text:
        text = _ROW.sub(_row_of, _UNSEEN.sub("", text))
        text = _TAG.sub("", _BREAK.sub("\n\n", _MATH_TAG.sub(" ", text)))
    return html.unescape(text) if "&" in text else text


def _row_of(row: re.Match[str]) -> str:
    cells = _CELL.split(row[1])[1:]
    return "\n" + " | ".join(" ".join(_TAG.sub("", _MATH_TAG.sub(" ", cell)).split()) for cell in cells)


def _tidy(text: str) -> str:
    return _BLANKS.sub("\n\n", text).strip()
