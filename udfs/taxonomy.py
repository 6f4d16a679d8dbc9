"""The disciplines and fields texts are labelled with, read from a YAML file that users may replace.

The file is read as a tree of YAML nodes, not as plain objects, because a node still knows its line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import yaml

VERSION = "1"
_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_FIELD_KEYS = ("id", "name", "stem", "description", "terms")
_LANGUAGES = ("en", "zh")


class TaxonomyError(ValueError):
    """A taxonomy file that cannot be used; the message has file, line and what to do."""


@dataclass(frozen=True)
class Discipline:
    """One of the broad branches of learning."""

    id: str
    name_en: str
    name_zh: str


@dataclass(frozen=True)
class Field:
    """A field of study inside one discipline; `stem` gives it the STEM weight of the plan."""

    id: str
    discipline: str
    name_en: str
    name_zh: str
    stem: bool
    description_en: str
    description_zh: str
    terms_en: tuple[str, ...]
    terms_zh: tuple[str, ...]


@dataclass(frozen=True)
class Label:
    """What a data set's label means: a field, only a discipline (`field` is None) or nothing usable (both None)."""

    discipline: str | None
    field: str | None


@dataclass(frozen=True)
class Taxonomy:
    """Disciplines and fields in the order of the file; `labels` maps data set, then its label, to a `Label`."""

    disciplines: tuple[Discipline, ...]
    fields: tuple[Field, ...]
    labels: Mapping[str, Mapping[str, Label]]

    @cached_property
    def by_id(self) -> Mapping[str, Field]:
        """The fields by their id."""
        return {field.id: field for field in self.fields}

    def is_stem(self, field: str) -> bool:
        """Tell whether the field of that id counts as STEM; KeyError for an unknown id."""
        return self.by_id[field].stem


def load_taxonomy(path: str | Path) -> Taxonomy:
    """Read the taxonomy file at `path` (UTF-8); TaxonomyError for a bad file, OSError for an unreadable one."""
    raw = Path(path).read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise TaxonomyError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
    return parse_taxonomy(text, str(path))


def parse_taxonomy(text: str, name: str) -> Taxonomy:
    """Read a taxonomy from YAML text; `name` stands for the file in errors. TaxonomyError for anything amiss."""
    reader = _Reader(name)
    root = reader.mapping(reader.root(text), "the file", ("version", "disciplines", "labels"))
    if reader.text(root["version"], "version", tag="int") != VERSION:
        reader.refuse(root["version"], f"unknown version; write version: {VERSION}")
    disciplines: dict[str, Discipline] = {}
    fields: dict[str, Field] = {}
    for node in reader.sequence(root["disciplines"], "disciplines"):
        entry = reader.mapping(node, "a discipline", ("id", "name", "fields"))
        discipline = Discipline(reader.new_id(entry["id"], disciplines), *reader.both_texts(entry["name"], "name"))
        disciplines[discipline.id] = discipline
        for field_node in reader.sequence(entry["fields"], "fields"):
            field = _field(reader, field_node, discipline.id, fields)
            fields[field.id] = field
    labels = _labels(reader, root["labels"], disciplines, fields)
    return Taxonomy(tuple(disciplines.values()), tuple(fields.values()), labels)


def prototypes(taxonomy: Taxonomy) -> list[tuple[str, str]]:
    """Give the English texts whose embeddings stand for a field in zero-shot labelling, as (field id, text).

    Two a field, in the order of the file: what the field is, and the words met in it. They are apart because an exam
    question resembles the words, a textbook passage the sentence; take the better of the two similarities.
    """
    pairs = []
    for field in taxonomy.fields:
        pairs.append((field.id, f"{field.name_en}. {field.description_en}"))
        pairs.append((field.id, f"{field.name_en}: {', '.join(field.terms_en)}"))
    return pairs


def field_menu(taxonomy: Taxonomy, lang: str) -> str:
    """List the fields for an annotation prompt, a line `id: name - terms` each, in the order of the file.

    `lang` is "en" or "zh" (the ids stay the same); ValueError for another.
    """
    if lang not in _LANGUAGES:
        raise ValueError(f"no field menu in language {lang!r}; use one of {', '.join(_LANGUAGES)}")
    if lang == "zh":
        return "\n".join(f"{f.id}: {f.name_zh} - {'、'.join(f.terms_zh)}" for f in taxonomy.fields)
    return "\n".join(f"{f.id}: {f.name_en} - {', '.join(f.terms_en)}" for f in taxonomy.fields)


def _field(reader: _Reader, node: yaml.Node, discipline: str, known: Iterable[str]) -> Field:
    entry = reader.mapping(node, "a field", _FIELD_KEYS)
    name_en, name_zh = reader.both_texts(entry["name"], "name")
    description_en, description_zh = reader.both_texts(entry["description"], "description")
    terms = reader.mapping(entry["terms"], "terms", _LANGUAGES)
    return Field(
        id=reader.new_id(entry["id"], known),
        discipline=discipline,
        name_en=name_en,
        name_zh=name_zh,
        stem=reader.flag(entry["stem"], "stem"),
        description_en=description_en,
        description_zh=description_zh,
        terms_en=reader.texts(terms["en"], "terms.en"),
        terms_zh=reader.texts(terms["zh"], "terms.zh"),
    )


def _labels(
    reader: _Reader, node: yaml.Node, disciplines: Mapping[str, Discipline], fields: Mapping[str, Field]
) -> dict[str, dict[str, Label]]:
    def label(value: yaml.Node, what: str) -> Label:
        if reader.is_null(value):
            return Label(None, None)
        if isinstance(value, yaml.MappingNode):
            target = reader.mapping(value, what, ("discipline",))["discipline"]
            return Label(reader.known_id(target, "discipline", disciplines), None)
        field = fields[reader.known_id(value, "field", fields)]
        return Label(field.discipline, field.id)

    return {
        data_set: {key: label(value, f"label {key!r}") for key, value in reader.mapping(entries, data_set).items()}
        for data_set, entries in reader.mapping(node, "labels").items()
    }


class _Reader:
    """Takes typed values out of YAML nodes and refuses everything else with the line."""

    def __init__(self, name: str) -> None:
        self._name = name

    def refuse(self, at: yaml.Node | int, problem: str) -> NoReturn:
        """Raise for the problem at a node or a line counted from 1."""
        line = at if isinstance(at, int) else at.start_mark.line + 1
        raise TaxonomyError(f"{self._name}, line {line}: {problem}")

    def root(self, text: str) -> yaml.Node:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.reader.ReaderError as error:
            self.refuse(text[: error.position].count("\n") + 1, "a control character; remove it")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.refuse(mark.line + 1 if mark else 1, f"not valid YAML: {error.problem}; correct the syntax here")
        if root is None:
            self.refuse(1, "the file is empty; copy conf/taxonomy.yaml and change it")
        return root

    def mapping(self, node: yaml.Node, what: str, keys: tuple[str, ...] | None = None) -> dict[str, yaml.Node]:
        """Read a mapping with exactly these keys, or with any where `keys` is None."""
        if not isinstance(node, yaml.MappingNode):
            self.refuse(node, f"{what} must be a mapping; write keys and values")
        entries: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self.text(key_node, f"a key of {what}")
            if keys is not None and key not in keys:
                self.refuse(key_node, f"unknown key {key!r} in {what}; use {', '.join(keys)}")
            if key in entries:
                self.refuse(key_node, f"key {key!r} stands twice in {what}; remove one")
            entries[key] = value
        for key in keys or ():
            if key not in entries:
                self.refuse(node, f"{what} has no key {key!r}; add it")
        return entries

    def sequence(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.refuse(node, f"{what} must be a list of at least one entry")
        return list(node.value)

    def text(self, node: yaml.Node, what: str, tag: str = "str") -> str:
        """Read a scalar of the YAML type `tag`, its white space folded so that it fits on one line."""
        if not isinstance(node, yaml.ScalarNode) or node.tag != f"tag:yaml.org,2002:{tag}" or not node.value.strip():
            advice = "must be a text; write one, in quotes if it looks like a number or yes/no"
            self.refuse(node, f"{what} {advice if tag == 'str' else 'must be a whole number'}")
        return " ".join(node.value.split())

    def flag(self, node: yaml.Node, what: str) -> bool:
        if not isinstance(node, yaml.ScalarNode) or node.value not in ("true", "false") or node.style is not None:
            self.refuse(node, f"{what} must be true or false, without quotes")
        return bool(node.value == "true")

    def is_null(self, node: yaml.Node) -> bool:
        return bool(node.tag == "tag:yaml.org,2002:null")

    def texts(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        return tuple(self.text(item, f"an entry of {what}") for item in self.sequence(node, what))

    def both_texts(self, node: yaml.Node, what: str) -> tuple[str, str]:
        entry = self.mapping(node, what, _LANGUAGES)
        return self.text(entry["en"], f"{what}.en"), self.text(entry["zh"], f"{what}.zh")

    def new_id(self, node: yaml.Node, known: Iterable[str]) -> str:
        value = self.text(node, "id")
        if not _IDENTIFIER.fullmatch(value):
            self.refuse(node, f"id {value!r} is not snake_case; use lower-case letters, digits and single underscores")
        if value in known:
            self.refuse(node, f"id {value!r} is already taken above; choose another")
        return value

    def known_id(self, node: yaml.Node, kind: str, known: Iterable[str]) -> str:
        value = self.text(node, f"a {kind} id")
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"define it above or use a known {kind}"
            self.refuse(node, f"unknown {kind} {value!r}; {hint}")
        return value
