"""The prompt files of this folder: their sections, their ids, and filling them in without reading a value as a
template.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

LANGUAGES = ("en", "zh")
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
CLOSING_TAG = re.compile(r"</(source|question|draft|options|criteria|clusters|sample_\d+)\s*>", re.IGNORECASE)


def prompt_language(lang: str | None) -> str:
    """Chooses the prompt's language for a text's language code: Chinese for Chinese, English for every other."""
    return "zh" if (lang or "").lower().startswith("zh") else "en"


@cache
def read_prompt(name: str, language: str, version: int) -> str:
    """Reads the text of `udfs/prompts/<name>.<language>.v<version>.md`, from a folder or a zip."""
    path = resources.files("udfs.prompts").joinpath(f"{name}.{language}.v{version}.md")
    return path.read_text(encoding="utf-8").replace("\r\n", "\n")


@cache
def prompt_sections(name: str, language: str, version: int) -> Mapping[str, str]:
    """Splits a prompt file at its `## heading` lines. Returns heading -> text."""
    parts = SECTION.split(read_prompt(name, language, version))
    return {heading.strip(): text.strip() for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def prompt_id(name: str, version: int, language: str | None = None) -> str:
    """Names a prompt: `multi_grade.en@1-3fa9c2d1`, or `multi_grade@1-...` over all languages.

    The last part is a hash of the file, so that an edited prompt is a new prompt even where nobody raised its version.
    """
    languages = (language,) if language else LANGUAGES
    text = "\x00".join(read_prompt(name, each, version) for each in languages)
    suffix = f".{language}" if language else ""
    return f"{name}{suffix}@{version}-{hashlib.sha256(text.encode('utf-8')).hexdigest()[:8]}"


def fill(template: str, values: Mapping[str, str]) -> str:
    """Puts the values into the `{{name}}` places in one pass: braces, dollars or placeholders inside a value stay as
    they are.

    Raises KeyError for a placeholder that has no value.
    """
    return PLACEHOLDER.sub(lambda found: values[found.group(1)], template)


def enclose(text: str) -> str:
    """Makes a text safe to stand between the prompt's tags: a closing tag inside it is written with square brackets."""
    return CLOSING_TAG.sub(r"[/\1]", text.strip())
