"""HTML: a page is one record with `text` (Markdown: paragraphs, headings and code kept apart) and `title`; menus and footers are left out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from etl.readers.chunks import guess_encoding, raw_chunks, whole
from etl.readers.record import AUTO, BadRecord, ByteStream, ReadOptions, Record, raw_of

_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_HEAD = 4_096
# What browsers take these names for, and so did whoever wrote the pages.
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252", "shift_jis": "cp932"}


def read_html(stream: ByteStream, options: ReadOptions) -> Iterator[Record | BadRecord]:
    """The page as one record, or one bad record."""
    data = whole(raw_chunks(stream), options.max_record_bytes)
    yield data if isinstance(data, BadRecord) else page_record("0", data, options)


def page_record(position: str, data: bytes, options: ReadOptions, declared: str = "") -> Record | BadRecord:
    """One page as a record; `declared` is the charset that came with it over HTTP. A page without text to extract is `empty_text`."""
    page = _decode(data, options.encoding, declared)
    if page is None:
        return BadRecord(
            position,
            "bad_encoding",
            "the page is in no encoding that it declares, nor in the one configured",
            raw_of(data),
        )
    try:
        text, title = _extract(page)
    # A parser of wild HTML may fail in any way; the page is then a row with the reason.
    except Exception as error:  # noqa: BLE001
        return BadRecord(
            position, "unreadable", f"the text cannot be extracted: {type(error).__name__}: {error}", raw_of(data)
        )
    if not text:
        return BadRecord(position, "empty_text", "the page has no text to extract", raw_of(data))
    return Record(position, {"text": text, "title": title})


def _decode(data: bytes, encoding: str, declared: str) -> str | None:
    """The page as text: by the configured encoding if one is, else as UTF-8 where that is valid, by what came over HTTP, by what the page declares."""
    found = _DECLARED.search(data[:_HEAD])
    inside = found[1].decode("ascii", "replace") if found else ""
    names = ["utf-8", declared, inside] if encoding in (AUTO, "utf-8") else [encoding]
    if encoding == AUTO:
        names.append(guess_encoding(data))
    decoded = (_decode_as(data, name.lower()) for name in names if name)
    return next((text for text in decoded if text is not None), None)


def _decode_as(data: bytes, name: str) -> str | None:
    try:
        return data.decode(_SUPERSETS.get(name, name)).removeprefix("\ufeff")
    except (UnicodeError, LookupError):
        return None


def _extract(page: str) -> tuple[str, str]:
    import trafilatura

    # Its complaints about pages come back as rows.
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    tree = trafilatura.load_html(page)
    if tree is None:
        return "", ""
    title = tree.findtext(".//title") or tree.findtext(".//h1") or ""
    text = trafilatura.extract(tree, output_format="markdown", include_comments=False)
    return (text or "").strip(), " ".join(title.split())
