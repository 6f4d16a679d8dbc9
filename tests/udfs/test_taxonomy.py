"""The shipped taxonomy is usable, and a bad file is refused with the line to look at."""

from __future__ import annotations

import pickle
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.taxonomy import Label, Taxonomy, TaxonomyError, field_menu, load_taxonomy, parse_taxonomy, prototypes

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT.parent / "shared" / "data" / "bench"
SMALL = """\
version: 1
disciplines:
  - id: science
    name: {en: Science, zh: 理学}
    fields:
      - id: physics
        name: {en: Physics, zh: 物理学}
        stem: true
        description:
          en: The study of matter.
          zh: 研究物质的学科。
        terms:
          en: [force, energy]
          zh: [力, 能量]
  - id: law
    name: {en: Law, zh: 法学}
    fields:
      - id: contracts
        name: {en: Contracts, zh: 合同法}
        stem: false
        description: {en: The law of promises., zh: 关于合同的法律。}
        terms: {en: [breach], zh: [违约]}
labels:
  exam:
    mechanics: physics
    everything in law: {discipline: law}
    leftovers: null
"""


@pytest.fixture(scope="module")
def shipped() -> Taxonomy:
    return load_taxonomy(ROOT / "conf" / "taxonomy.yaml")


def refusal(text: str) -> str:
    with pytest.raises(TaxonomyError) as caught:
        parse_taxonomy(text, "mine.yaml")
    return str(caught.value)


def test_a_small_file_is_read_as_written() -> None:
    taxonomy = parse_taxonomy(SMALL, "mine.yaml")
    assert [d.id for d in taxonomy.disciplines] == ["science", "law"]
    physics = taxonomy.by_id["physics"]
    assert (physics.discipline, physics.name_zh, physics.terms_en) == ("science", "物理学", ("force", "energy"))
    assert [taxonomy.is_stem(f.id) for f in taxonomy.fields] == [True, False]
    assert taxonomy.labels["exam"] == {
        "mechanics": Label("science", "physics"),
        "everything in law": Label("law", None),
        "leftovers": Label(None, None),
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("stem: true", "stme: true", 8, "unknown key 'stme' in a field; use id, name, stem, description, terms"),
        ("        stem: true\n", "", 6, "a field has no key 'stem'; add it"),
        ("id: contracts", "id: physics", 18, "id 'physics' is already taken above; choose another"),
        ("id: law", "id: science", 15, "id 'science' is already taken above; choose another"),
        ("id: physics", "id: Physics 1", 6, "id 'Physics 1' is not snake_case"),
        ("stem: true", "stem: 'true'", 8, "stem must be true or false, without quotes"),
        ("en: [force, energy]", "en: force", 13, "terms.en must be a list of at least one entry"),
        ("en: [force, energy]", "en: []", 13, "terms.en must be a list of at least one entry"),
        ("en: [force, energy]", "en:", 13, "terms.en must be a list of at least one entry"),
        ("[force, energy]", "[force, no]", 13, "an entry of terms.en must be a text; write one, in quotes if"),
        ("en: The study of matter.", "en: ' '", 10, "description.en must be a text"),
        ("{en: Law, zh: 法学}", "Law", 16, "name must be a mapping"),
        ("version: 1", "version: 2", 1, "unknown version; write version: 1"),
        ("mechanics: physics", "mechanics: physic", 25, "unknown field 'physic'; did you mean 'physics'?"),
        ("mechanics: physics", "mechanics: zzz", 25, "unknown field 'zzz'; define it above or use a known field"),
        ("{discipline: law}", "{discipline: laws}", 26, "unknown discipline 'laws'; did you mean 'law'?"),
        ("{discipline: law}", "[law]", 26, "a field id must be a text"),
        ("leftovers:", "mechanics:", 27, "key 'mechanics' stands twice in exam; remove one"),
        ("[breach]", "[breach", 22, "not valid YAML"),
        ("stem: true", "\tstem: true", 8, "not valid YAML"),
        ("stem: true", "stem: \x00", 8, "a control character; remove it"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(old: str, new: str, line: int, says: str) -> None:
    assert SMALL.count(old) == 1
    message = refusal(SMALL.replace(old, new))
    assert message.startswith(f"mine.yaml, line {line}: ")
    assert says in message


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert refusal(text) == "mine.yaml, line 1: the file is empty; copy conf/taxonomy.yaml and change it"


def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "gbk.yaml"
    path.write_bytes(SMALL.encode("gbk"))
    with pytest.raises(TaxonomyError, match=r"gbk\.yaml, line 4: not UTF-8"):
        load_taxonomy(path)


@given(st.integers(0, len(SMALL)), st.text("[]{}:#&*!|>'\"%@`-, \n\tab\x00", max_size=4))
def test_any_edit_is_read_or_refused_but_never_breaks(position: int, insert: str) -> None:
    with suppress(TaxonomyError):
        parse_taxonomy(SMALL[:position] + insert + SMALL[position:], "mine.yaml")


def test_prototypes_hold_name_description_and_terms() -> None:
    assert prototypes(parse_taxonomy(SMALL, "mine.yaml"))[:2] == [
        ("physics", "Physics. The study of matter."),
        ("physics", "Physics: force, energy"),
    ]


def test_the_menu_has_one_line_a_field_in_both_languages() -> None:
    folded = SMALL.replace("{en: Physics, zh: 物理学}", '{en: "Physics\\n proper", zh: 物理学}')
    taxonomy = parse_taxonomy(folded, "mine.yaml")
    assert field_menu(taxonomy, "en") == "physics: Physics proper - force, energy\ncontracts: Contracts - breach"
    assert field_menu(taxonomy, "zh") == "physics: 物理学 - 力、能量\ncontracts: 合同法 - 违约"
    with pytest.raises(ValueError, match="no field menu in language 'fr'"):
        field_menu(taxonomy, "fr")


def test_the_shipped_file_keeps_its_promises(shipped: Taxonomy) -> None:
    assert len(shipped.disciplines) == 13
    assert 60 <= len(shipped.fields) <= 75
    assert {f.discipline for f in shipped.fields} == {d.id for d in shipped.disciplines}
    assert all(5 <= len(terms) <= 10 for f in shipped.fields for terms in (f.terms_en, f.terms_zh))
    assert all(term == term.lower() for f in shipped.fields for term in f.terms_en)
    texts = Counter(text for f in shipped.fields for text in (f.description_en, f.description_zh))
    assert set(texts.values()) == {1}
    # An annotator's answer must not be readable as both.
    assert not {f.id for f in shipped.fields} & {d.id for d in shipped.disciplines}


def test_the_shipped_labels_and_flags_of_known_subjects(shipped: Taxonomy) -> None:
    assert len(shipped.labels["mmlu"]) == 57
    assert shipped.labels["mmlu"]["abstract_algebra"] == Label("science", "mathematics")
    assert shipped.labels["mmlu_pro"]["health"] == Label("medicine", None)
    assert len(shipped.labels["mmlu_pro"]) == 14
    assert all(shipped.is_stem(f.id) for f in shipped.fields if f.discipline in ("science", "engineering"))
    assert not shipped.is_stem("ethics")


def test_a_taxonomy_travels_to_a_worker(shipped: Taxonomy) -> None:
    assert shipped.by_id
    assert pickle.loads(pickle.dumps(shipped)) == shipped


@pytest.mark.skipif(not BENCH.exists(), reason="the shared exam sets are not here")
def test_every_exam_file_at_hand_has_a_label(shipped: Taxonomy) -> None:
    assert {p.stem.removesuffix("_test") for p in BENCH.glob("mmlu/*.csv")} == set(shipped.labels["mmlu"])
    assert {p.stem for p in BENCH.glob("gaokao_bench/*/*.json")} == set(shipped.labels["gaokao_bench"])
