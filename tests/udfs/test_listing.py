"""Files behind paths, folders and globs: none is passed over but those that hold no data."""

from __future__ import annotations

import pytest

from udfs.listing import covers, find_files

FILES = (
    "a/1.txt",
    "a/2.txt",
    "a/_index.md",
    "a/b/3.txt",
    "c/4.txt",
    "c/5.csv",
    "_posts/6.md",
    "d[1]/7.txt",
    "50% of #1/中?.txt",
)
NO_DATA = (".git/config", "a/.hidden", "c/_SUCCESS", "c/_delta_log/0.json", "c/.4.txt.crc", "c/_committed_17")


@pytest.fixture
def folder(tmp_path):
    for name in (*FILES, *NO_DATA):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if name.startswith("c/") else "text")
    return tmp_path


def found(folder, pattern):
    return {stat.uri.removeprefix(f"{folder}/") for stat in find_files(f"{folder}/{pattern}")}


def test_a_folder_gives_every_file_under_it_empty_ones_and_names_with_an_underscore_too(folder):
    assert found(folder, "") == set(FILES)
    sizes = {stat.uri.removeprefix(f"{folder}/"): stat.size for stat in find_files(str(folder))}
    assert (sizes["a/1.txt"], sizes["c/4.txt"]) == (4, 0)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a/1.txt", {"a/1.txt"}),
        ("a", {"a/1.txt", "a/2.txt", "a/_index.md", "a/b/3.txt"}),
        ("a/*.txt", {"a/1.txt", "a/2.txt"}),
        ("a/*", {"a/1.txt", "a/2.txt", "a/_index.md", "a/b/3.txt"}),
        ("*/*.txt", {"a/1.txt", "a/2.txt", "c/4.txt", "d[1]/7.txt", "50% of #1/中?.txt"}),
        ("*/b", {"a/b/3.txt"}),
        ("[ac]/?.txt", {"a/1.txt", "a/2.txt", "c/4.txt"}),
        ("[!a]/?.txt", {"c/4.txt"}),
        ("{a/b,c}/*.{txt,csv}", {"a/b/3.txt", "c/4.txt", "c/5.csv"}),
        ("d[1]", {"d[1]/7.txt"}),
        ("c/_SUCCESS", {"c/_SUCCESS"}),
        ("nowhere", set()),
        ("no*where/*", set()),
    ],
)
def test_a_path_or_glob_gives_the_files_it_names(folder, pattern, names):
    assert found(folder, pattern) == names


def test_a_file_uri_is_decoded_and_addresses_come_back_plain(folder):
    assert [s.uri for s in find_files((folder / "50% of #1").as_uri())] == [f"{folder}/50% of #1/中?.txt"]


@pytest.mark.parametrize(
    ("pattern", "address", "yes"),
    [
        ("a", "a/out", True),
        ("a", "a", True),
        ("a", "ab/out", False),
        ("a/1.txt", "a/out", False),
        ("{a,c}/*", "c/out", True),
        ("*", "out", True),
        ("*/*.txt", "out/rows", False),
        ("*/*.txt", "out/rows.txt/more", True),
        ("d[1]", "d[1]/out", True),
        ("nowhere", "nowhere/out", True),
    ],
)
def test_a_place_that_a_path_or_glob_covers(folder, pattern, address, yes):
    assert covers(f"{folder}/{pattern}", f"{folder}/{address}") is yes
    assert not covers("s3://bucket/a", f"{folder}/a")
