"""Personal data by rules: e-mail and IP addresses, phone and card numbers, Chinese and US identity numbers.

Numbers are judged by check digits, dates and ranges and by what stands around them, so that the years, formulas, ISBNs,
section numbers and long decimals of a textbook stay.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

_FORMULA_BEFORE, _FORMULA_AFTER = frozenset("=×*^≈<>{√$−·"), frozenset("=×*/^≈}÷%·")


def _number(first: str, rest: str) -> re.Pattern[str]:
    """A number that stands alone: no letter, digit, or decimal sign touches it.

    `first` is the set of its first characters. It comes before the look behind it because `re` skips fast to a known
    first character and slowly otherwise.
    """
    return re.compile(rf"[{first}](?<![A-Za-z0-9.,_\-][{first}])(?:{rest})(?![A-Za-z0-9]|[.,_\-][0-9])")


_EMAIL = re.compile(
    r"(?<![A-Za-z0-9_.%+\-])[A-Za-z0-9_][A-Za-z0-9._%+\-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}"
    r"(?!(?:png|jpe?g|gif|svg|webp|css|js|py|html?)\b)[A-Za-z]{2,24}(?![A-Za-z0-9\-])"
)
_CN_ID = _number("1-8", r"[0-9]{5}(?:19|20)[0-9]{9}[0-9Xx]")
_CARD = _number(
    "2-6", r"[0-9]{12,18}|[0-9]{3}([ \-])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}|(?<=3)[47][0-9]{2}([ \-])[0-9]{6}\2[0-9]{5}"
)
_SSN = _number("0-8", r"[0-9]{2}(?<!000|666)-(?!00)[0-9]{2}-(?!0000)[0-9]{4}")
_PHONE_INTERNATIONAL = _number("+", r"(?<![)\]}+]\+)[1-9](?:[ .()\-]{0,2}[0-9]){7,14}")
_PHONE_CN_MOBILE = _number(
    "018", r"(?<!\+[18])(?:(?<=1)|(?:(?<=0)086|(?<=8)6)[ \-]?1)[3-9][0-9]([ \-]?)[0-9]{4}\1[0-9]{4}"
)
_PHONE_CN_FIXED = _number("0", r"[1-9][0-9]{1,2}-[2-8][0-9]{6,7}")
_PHONE_NANP = _number(
    "1-9(",
    r"(?:(?<=1)[ \-]\(?[2-9][0-9]{2}|(?<=\()[2-9][0-9]{2}|(?<=[2-9])[0-9]{2})(?:\) ?|-)[2-9][0-9]{2}-[0-9]{4}",
)
_IP = re.compile(
    r"[0-9](?<![A-Za-z0-9.][0-9])"
    r"(?:[0-9]{0,2}\.(?:[0-9]{1,3}\.){2}[0-9]{1,3}(?![A-Za-z0-9]|\.[0-9])"
    r"|(?<=[23])(?<!:[23])[0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]))"
)
_NUMBERED = re.compile(
    r"(?:section|chapter|version|release|table|figure|fig\.|§|\bv|第|版本|章|节|表|图)\s*$", re.IGNORECASE
)
_LOCAL = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    )
)
_CN_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
# First digits and lengths of the large card schemes (ISO/IEC 7812 ranges).
_CARD_SCHEME = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17}"
)


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """One find: `text[start:end]` is personal data of this kind."""

    start: int
    end: int
    kind: str


def find(text: str) -> list[Match]:
    """All personal data in the text, by position, without overlaps.

    Kinds: email, cn_id (18 digits with valid date and check digit), credit_card (known scheme, Luhn), us_ssn, phone
    (international, Chinese, North American), ip (IPv4 with a part over 99, as section numbers have none; addresses of
    private and local networks identify nobody and stay).
    """
    found: list[Match] = []
    for kind, pattern, holds in _RULES:
        if kind == "email" and "@" not in text:
            continue
        new = [Match(*match.span(), kind) for match in pattern.finditer(text) if holds(text, match)]
        text = _replaced(text, new, lambda match: "\0" * (match.end - match.start))
        found += new
    return sorted(found)


def redact(text: str) -> tuple[str, tuple[str, ...]]:
    """The text with each find replaced by its kind in angle brackets, such as <email>, and the sorted kinds found."""
    matches = find(text)
    kinds = tuple(sorted({match.kind for match in matches}))
    return _replaced(text, matches, lambda match: f"<{match.kind}>"), kinds


def _replaced(text: str, matches: list[Match], by: Callable[[Match], str]) -> str:
    pieces, position = [], 0
    for match in matches:
        pieces += [text[position : match.start], by(match)]
        position = match.end
    return "".join([*pieces, text[position:]]) if matches else text


def _digits(match: re.Match[str]) -> str:
    return "".join(char for char in match.group() if char.isdigit())


def _in_formula(text: str, match: re.Match[str]) -> bool:
    before, after = (
        text[max(0, match.start() - 4) : match.start()].rstrip(),
        text[match.end() : match.end() + 4].lstrip(),
    )
    return before[-1:] in _FORMULA_BEFORE or after[:1] in _FORMULA_AFTER


def _is_email(_text: str, match: re.Match[str]) -> bool:
    return ".." not in match.group()


def _is_cn_id(_text: str, match: re.Match[str]) -> bool:
    number = match.group()
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_CN_ID_WEIGHTS, number, strict=False))
    return "10X98765432"[total % 11] == number[-1].upper()


def _is_card(text: str, match: re.Match[str]) -> bool:
    digits = _digits(match)
    if not _CARD_SCHEME.fullmatch(digits) or _in_formula(text, match):
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _is_ssn(text: str, match: re.Match[str]) -> bool:
    return not _in_formula(text, match)


def _is_phone(text: str, match: re.Match[str]) -> bool:
    number = match.group()
    grouped = re.fullmatch(r"\+[0-9]{1,3}(?:[ .][0-9]{3})+", number)  # "+12 000 000 people"
    if grouped and (len(_digits(match)) < 11 or _digits(match).endswith("000000")):
        return False
    return not _digits(match).endswith("000000") and not _in_formula(text, match)


def _is_ip(text: str, match: re.Match[str]) -> bool:
    try:
        address = ipaddress.ip_address(match.group())
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return True
    if max(address.packed) < 100 or _NUMBERED.search(text, max(0, match.start() - 10), match.start()):
        return False
    return not any(address in network for network in _LOCAL)


# In order of precedence: what an earlier rule has found, a later one doesn't see.
_RULES: tuple[tuple[str, re.Pattern[str], Callable[[str, re.Match[str]], bool]], ...] = (
    ("email", _EMAIL, _is_email),
    ("cn_id", _CN_ID, _is_cn_id),
    ("credit_card", _CARD, _is_card),
    ("us_ssn", _SSN, _is_ssn),
    ("phone", _PHONE_INTERNATIONAL, _is_phone),
    ("phone", _PHONE_CN_MOBILE, _is_phone),
    ("phone", _PHONE_CN_FIXED, _is_phone),
    ("phone", _PHONE_NANP, _is_phone),
    ("ip", _IP, _is_ip),
)
