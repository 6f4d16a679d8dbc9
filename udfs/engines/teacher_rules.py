"""How the stand-in teacher answers: by rules, from nothing but the text of the request. Its answers are placeholders.

The task is recognised by the line `Task: name` of the system message; the same messages always get the same answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from udfs.engines.teacher_clusters import find_criteria, sort_texts, verify_clusters
from udfs.engines.teacher_text import Fact, field_scores, find_facts, language_of, reading_level
from udfs.prompts import fill, prompt_sections

MODEL = "stand-in"
PLAIN = "This is a placeholder answer of the stand-in teacher."
GRADE_LEVELS = {
    "elementary": 1, "middle_school": 1, "high_school": 2, "undergraduate": 2, "graduate": 3, "competition": 3,
}  # fmt: skip
TASK_LINE = re.compile("^(?:Task|任务)[:\uff1a] *(\\w+) *$", re.MULTILINE)
GRADE_LINE = re.compile("^(?:Grade|学段)[:\uff1a] *(\\w+) *$", re.MULTILINE)
COUNT_LINE = re.compile("^(?:Number of questions|题目数量)[:\uff1a] *(\\d+) *$", re.MULTILINE)
FINAL_LINE = re.compile("^(?:Final answer:|最终答案[:\uff1a]) *(.+)$", re.MULTILINE)
OPTION_LINE = re.compile(r"^([A-Z])\. ", re.MULTILINE)
SAMPLE = re.compile(r"<sample_(\d+)>\n(.*?)\n</sample_\1>", re.DOTALL)
FORMS = {"definition": "open", "number": "calculation", "cause": "open", "statement": "open"}
POINTS_OUTSIDE = re.compile(
    r"\b(?:according to|in|from|based on) (?:the|this) (?:above |following )?(?:passage|text|article|source|paragraph|excerpt)\b"
    r"|\b(?:the|this) (?:passage|author|figure|table|diagram|excerpt|chapter|section)\b|\b(?:figure|table|fig\.) ?\d"
    r"|(?:根据|依据|结合)(?:上文|下文|本文|文章|材料|短文|原文|课文)|文中|上文|下文|本文|如图|下图|上图|下表|上表|作者",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the rules see it: the system and user texts, and a number that stands for both."""

    system: str
    user: str
    seed: int

    def block(self, tag: str) -> str:
        """Text between the tags of that name, or nothing."""
        found = re.search(f"<{tag}>\n?(.*?)\n?</{tag}>", self.user, re.DOTALL)
        return found[1] if found else ""

    def samples(self) -> list[str]:
        """The numbered samples, in their order."""
        return [text for _, text in SAMPLE.findall(self.user)]


def answer(messages: Sequence[dict[str, Any]]) -> str:
    """Answers a chat. A task that it does not know gets a plain sentence."""
    system = "\n".join(str(message.get("content", "")) for message in messages if message.get("role") == "system")
    user = "\n".join(str(message.get("content", "")) for message in messages if message.get("role") != "system")
    digest = hashlib.sha256(f"{system}\x00{user}".encode("utf-8", "replace")).digest()
    found = TASK_LINE.search(system)
    rule = RULES.get(found[1]) if found else None
    if rule is None:
        return PLAIN
    return json.dumps(rule(Asked(system, user, int.from_bytes(digest[:8], "big"))), ensure_ascii=False)


def make_questions(asked: Asked) -> dict[str, Any]:
    """Makes as many different questions as asked for, or as the source has facts."""
    source = asked.block("source")
    language = language_of(source)
    grade = GRADE_LINE.search(asked.user)
    level = GRADE_LEVELS.get(grade[1], 2) if grade else 3
    count = COUNT_LINE.search(asked.user)
    facts = find_facts(source, language)
    # Each grade of a seed starts at another fact, so that its questions differ in more than words.
    start = asked.seed % len(facts) if facts else 0
    chosen = (facts[start:] + facts[:start])[: int(count[1]) if count else 3]
    return {"items": [_pair(fact, level, language) for fact in chosen]}


def _pair(fact: Fact, level: int, language: str) -> dict[str, str]:
    phrases = prompt_sections("stand_in", language, 1)
    question, steps, final = (fill(line, fact.parts) for line in phrases[f"{fact.kind} {level}"].splitlines())
    form = "true_false" if (fact.kind, level) == ("statement", 1) else FORMS[fact.kind]
    return {"question": question, "answer": f"{_final(final, language)}\n{steps}", "form": form}


def refine(asked: Asked) -> dict[str, Any]:
    """Rejects a question that points outside itself, else puts the final answer last. It does not judge content."""
    question, draft = asked.block("question"), asked.block("draft").strip()
    outside = POINTS_OUTSIDE.search(question)
    if outside:
        return _refinement("reject", "", f"the question points outside itself: {outside[0]}", [])
    if not draft:
        return _refinement("reject", "", "the draft answer is empty", [])
    language = language_of(question)
    found = FINAL_LINE.search(draft)
    if found is None:
        text = f"{draft}\n\n{_final(draft.splitlines()[-1], language)}"
        return _refinement("fixed", text, "the final answer was missing", ["stated the final answer"])
    steps = FINAL_LINE.sub("", draft, count=1).strip()
    text = f"{steps}\n\n{_final(found[1], language)}".strip()
    return _refinement("ok", text, "the form is right", ["moved the final answer to the end"] if text != draft else [])


def _final(result: str, language: str) -> str:
    label = prompt_sections("stand_in", language, 1)["final"]
    return f"{label}{'' if language == 'zh' else ' '}{result.strip()}"


def _refinement(verdict: str, text: str, reason: str, edits: list[str]) -> dict[str, Any]:
    return {"verdict": verdict, "answer": text, "reason": reason, "edits": edits}


def annotate(asked: Asked) -> dict[str, Any]:
    """Labels by the menu's terms found in the text, and grades by readability."""
    source = asked.block("source")
    scores = field_scores(source, asked.system)
    ranked = sorted(scores, key=lambda name: (-scores[name], name))
    if not ranked:
        return {"field": "", "difficulty": reading_level(source), "confidence": 0.0, "reason": "the menu is empty"}
    first, second = scores[ranked[0]], scores[ranked[1]] if len(ranked) > 1 else 0.0
    confidence = round((first - second) / first, 2) if first else 0.0
    reason = f"{first:g} points for the field's terms" if first else "no term of any field occurs"
    return {"field": ranked[0], "difficulty": reading_level(source), "confidence": confidence, "reason": reason}


def guess(asked: Asked) -> dict[str, Any]:
    """Answers a probe question by a guess that depends on its text alone."""
    letters = OPTION_LINE.findall(asked.block("options"))
    return {"answer": letters[asked.seed % len(letters)] if letters else str(asked.seed % 10)}


def clusters_of(asked: Asked) -> list[dict[str, Any]]:
    """Reads the clusters of a request, a line each."""
    return [json.loads(line) for line in asked.block("clusters").splitlines()]


RULES: dict[str, Callable[[Asked], dict[str, Any]]] = {
    "annotate": annotate,
    "multi_grade": make_questions,
    "high_difficulty": make_questions,
    "refine": refine,
    "probe": guess,
    "cluster_criteria": lambda asked: find_criteria(asked.samples()),
    "cluster_texts": lambda asked: sort_texts(asked.samples()),
    "cluster_verify": lambda asked: verify_clusters(asked.samples(), clusters_of(asked)),
}
