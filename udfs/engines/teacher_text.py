"""What the stand-in teacher finds in a text by rules: its language, sentences, facts, topic and reading difficulty."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

CJK = re.compile(r"[\u4e00-\u9fff]")
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
# \uff01 \uff1f \uff1b \uff0c are the full-width ! ? ; and comma.
ZH_SENTENCE = re.compile("[^\u3002\uff01\uff1f\uff1b\n]+[\u3002\uff01\uff1f\uff1b]?")
EN_BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z0-9\"'(\[])|\n\s*\n")
MARKUP = re.compile(r"^[#>*|\-+=`~ \t]+|\*\*|`", re.MULTILINE)
LEFTOVER = re.compile(r"[<>|]|!\[")  # of HTML, tables and images

EN_DEFINITION = re.compile(
    r"^(?:An?\s+|The\s+)?(?P<subject>[A-Za-z][\w' -]{1,60}?),?\s+(?P<verb>is|are|means|refers to)\s+"
    r"(?P<rest>(?:an?|the|one|any|defined|called|known|when)\b.{8,}?)[.!]?$"
)
EN_POINTER = re.compile(r"(it|this|that|these|those|there|they|he|she|we|here|what|which|one)\b", re.IGNORECASE)
ZH_DEFINITION = re.compile(
    "^(?P<subject>[^\uff0c\u3002\u3001\u201c\u201d\\s]{2,16}?)(?P<verb>是指|指的是|就是|是)(?P<rest>.{4,}?)[\u3002\uff01]?$"
)
ZH_POINTER = re.compile("^(这|它|他|她|此|其|那|但|也|不|可|于|还|就|只|而)")
EN_CAUSE = re.compile(r"^(?P<effect>.{12,}?),?\s+(?:because|since|due to the fact that)\s+(?P<reason>.{8,}?)[.!]?$")
ZH_CAUSE = re.compile(
    "^(?:因为|由于)(?P<reason>.{4,}?)\uff0c(?:所以|因此|因而)?(?P<effect>.{4,})$"
    "|^(?P<reason2>.{6,}?)\uff0c(?:因此|所以|因而|从而)(?P<effect2>.{4,})$"
)
NUMBER = re.compile(r"(?<![\w.,\\^_{])\d+(?:,\d{3})*(?:\.\d+)?(?![\w^_}])|(?<=[\u4e00-\u9fff])\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Fact:
    """One sentence that a question can be made of; `parts` fills the phrases of its kind."""

    kind: str
    parts: dict[str, str]


def language_of(text: str) -> str:
    """`zh` where Chinese characters are over a tenth of the text, else `en`."""
    return "zh" if 10 * len(CJK.findall(text)) > len(text) else "en"


def sentences(text: str, language: str) -> list[str]:
    """Splits a text into sentences of a usable length, without Markdown marks."""
    shortest = 8 if language == "zh" else 25
    return [piece for piece in _split(text, language) if shortest <= len(piece) <= 400]


def _split(text: str, language: str) -> list[str]:
    plain = MARKUP.sub("", text)
    pieces = ZH_SENTENCE.findall(plain) if language == "zh" else EN_BREAK.split(plain)
    return [" ".join(piece.split()) for piece in pieces if piece.strip()]


def find_facts(text: str, language: str) -> list[Fact]:
    """Turns each sentence into the most telling kind of fact: definition, cause, number or plain statement."""
    topic = topic_of(text, language)
    found = list(dict.fromkeys(sentences(text, language)))
    facts = []
    for sentence in [each for each in found if _stands_alone(each, language)] or found:
        common = {"sentence": sentence, "topic": topic}
        for find in (_definition, _cause, _number):
            parts = find(sentence, language)
            if parts:
                facts.append(Fact(find.__name__.removeprefix("_"), common | parts))
                break
        else:
            facts.append(Fact("statement", common))
    return facts


def topic_of(text: str, language: str) -> str:
    """Names what a text is about: its most frequent long word (English) or most frequent pair of characters
    (Chinese).
    """
    if language == "zh":
        pairs = Counter(
            run[at : at + 2] for run in re.findall(r"[\u4e00-\u9fff]{2,}", text) for at in range(len(run) - 1)
        )
        return _most_common(pairs) or "本题"
    words = Counter(word.lower() for word in WORD.findall(text) if len(word) >= 6)
    return _most_common(words) or "the subject"


def reading_level(text: str) -> int:
    """Grades a text from 1 (easy) to 5 (hard) by the length of its sentences and words, and by its formulas."""
    language = language_of(text)
    pieces = _split(text, language) or [text]
    formulas = len(re.findall(r"\\[a-z]+|[=<>^_]|\$", text)) / max(1, len(text) / 100)
    if language == "zh":
        length = sum(len(piece) for piece in pieces) / len(pieces) / 25
        return _level(length + 0.3 * formulas)
    words = WORD.findall(text) or [""]
    length = len(words) / len(pieces) / 18
    long_words = 3 * sum(len(word) >= 9 for word in words) / len(words)
    return _level(length + long_words + 0.3 * formulas)


@lru_cache(maxsize=64)
def menu_terms(menu: str) -> dict[str, dict[str, float]]:
    """Reads `- field: description` lines. Returns field -> term -> weight; a term that many fields share weighs
    little.
    """
    fields = {name: _terms(f"{name} {rest}") for name, rest in re.findall(r"^- ([^:\n]+): (.*)$", menu, re.MULTILINE)}
    shared = Counter(term for terms in fields.values() for term in terms)
    return {name: {term: 1.0 / shared[term] for term in sorted(terms)} for name, terms in fields.items()}


def field_scores(text: str, menu: str) -> dict[str, float]:
    """Counts each field's terms in the text, at most three times each."""
    words = Counter(_stem(word) for word in WORD.findall(text))
    scores = {}
    for name, terms in menu_terms(menu).items():
        hits = (
            weight * min(3, text.count(term) if CJK.search(term) else words[term]) for term, weight in terms.items()
        )
        scores[name] = round(sum(hits), 6)
    return scores


def _terms(description: str) -> set[str]:
    english = {_stem(word) for word in re.split(r"[^A-Za-z]+", description) if len(word) >= 4}
    runs = re.findall(r"[\u4e00-\u9fff]{2,}", description)
    return english | {run[at : at + 2] for run in runs for at in range(len(run) - 1)}


def _stem(word: str) -> str:
    return word.lower().removesuffix("'s").rstrip("s")


def _stands_alone(sentence: str, language: str) -> bool:
    """A whole statement: no heading, no fragment, no markup, and no "It grows there." that needs its neighbours."""
    if language == "zh":
        whole, pointer = sentence.endswith(("\u3002", "\uff01")), ZH_POINTER
    else:
        whole, pointer = bool(re.match(r"[A-Z0-9\"'(].*[.!]$", sentence)), EN_POINTER
    return whole and not LEFTOVER.search(sentence) and not pointer.match(sentence)


def _definition(sentence: str, language: str) -> dict[str, str] | None:
    found = (ZH_DEFINITION if language == "zh" else EN_DEFINITION).match(sentence)
    if not found:
        return None
    subject = found["subject"]
    if (ZH_POINTER if language == "zh" else EN_POINTER).match(subject):
        return None
    return {"subject": subject, "verb": found["verb"], "rest": found["rest"]}


def _cause(sentence: str, language: str) -> dict[str, str] | None:
    if language == "zh":
        zh = ZH_CAUSE.match(sentence)
        return (
            {"reason": f"{zh['reason'] or zh['reason2']}\u3002", "effect": zh["effect"] or zh["effect2"]}
            if zh
            else None
        )
    found = EN_CAUSE.match(sentence)
    return {"reason": _capital(found["reason"]), "effect": _capital(found["effect"])} if found else None


def _number(sentence: str, language: str) -> dict[str, str] | None:
    found = NUMBER.search(sentence)
    if not found:
        return None
    double = f"{2 * float(found[0].replace(',', '')):.10g}"
    cloze = f"{sentence[: found.start()]}____{sentence[found.end() :]}"
    return {"number": found[0], "cloze": cloze, "double": double}


def _capital(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:].rstrip('.,')}."


def _most_common(counts: Counter[str]) -> str:
    return min(counts, key=lambda word: (-counts[word], word)) if counts else ""


def _level(score: float) -> int:
    return max(1, min(5, 1 + int(score * 1.6)))
