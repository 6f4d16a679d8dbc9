"""Which taxonomy a run gets, and that a bad file is the user's error with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.errors import UserError
from etl.taxonomy_file import read_taxonomy
from tests.etl.tiny import make_config
from udfs.taxonomy import Taxonomy

OWN = """\
version: 1
disciplines:
  - id: crafts
    name: {en: Crafts, zh: 手工艺}
    fields:
      - id: pottery
        name: {en: Pottery, zh: 陶艺}
        stem: false
        description: {en: Making vessels of clay., zh: 用黏土制作器皿。}
        terms: {en: [clay, kiln], zh: [黏土, 窑]}
labels: {}
"""


def read(name: Path | str) -> Taxonomy:
    return read_taxonomy(make_config("warehouse", annotate={"taxonomy": str(name)}))


def refusal(name: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        read(name)
    assert "\n" not in str(caught.value), "one line"
    return str(caught.value)


def test_a_users_file_takes_the_place_of_the_packaged_one(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN, "utf-8")
    own = read(tmp_path / "own.yaml")
    assert [field.id for field in own.fields] == ["pottery"]
    assert "crafts" not in {discipline.id for discipline in read("taxonomy.yaml").disciplines}


def test_the_bare_name_is_the_packaged_one_even_beside_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taxonomy.yaml").write_text(OWN, "utf-8")
    packaged = read("taxonomy.yaml")
    monkeypatch.chdir(tmp_path)
    assert read("taxonomy.yaml") == packaged
    assert [discipline.id for discipline in read("./taxonomy.yaml").disciplines] == ["crafts"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (OWN.replace("stem: false", "stem: maybe").encode(), "line 8: stem must be true or false"),
        (OWN.replace("id: pottery", "id: crafts and more").encode(), "line 6: id 'crafts and more' is not snake_case"),
        (OWN.replace("{en: Crafts", "{en: [Crafts").encode(), "line 4: not valid YAML"),
        (OWN.encode("gb18030"), "line 4: not UTF-8"),
        (b"", "line 1: the file is empty"),
    ],
)
def test_a_bad_file_is_told_with_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    assert refusal(path).startswith(f"annotate.taxonomy: {path}, {words}")


@pytest.mark.parametrize("name", ["", "nowhere.yaml"])
def test_a_folder_or_nothing_is_no_file(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name) == f"annotate.taxonomy: there is no file {tmp_path / name}"
