import os
import threading

import pyarrow.fs as pafs
import pytest

from udfs import storage
from udfs.storage import StorageError


@pytest.fixture(autouse=True)
def _no_metadata_service(monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a b/中.txt", "/a b/中.txt"),
        ("/a/100%25.txt", "/a/100%25.txt"),
        ("file:/a%20b/%E4%B8%AD.txt", "/a b/中.txt"),
        ("file:///a%20b/c%23d", "/a b/c#d"),
        ("file://localhost/a", "/a"),
        ("dbfs:/Volumes/c/s/v/a", "/Volumes/c/s/v/a"),
        ("/Volumes/c/s/v/a", "/Volumes/c/s/v/a"),
        ("relative/a:b", os.path.abspath("relative/a:b")),
    ],
)
def test_local_addresses(uri, path):
    filesystem, found = storage.open_fs(uri)
    assert (type(filesystem), found) == (pafs.LocalFileSystem, path)


@pytest.mark.parametrize(
    ("uri", "kind", "path"),
    [
        ("s3://bucket/a b/中%20.txt", "S3FileSystem", "bucket/a b/中%20.txt"),
        ("s3a://bucket/key", "S3FileSystem", "bucket/key"),
        ("s3n://bucket/key", "S3FileSystem", "bucket/key"),
        ("gs://bucket/key", "GcsFileSystem", "bucket/key"),
        ("abfss://box@account.dfs.core.windows.net/a/b", "AzureFileSystem", "box/a/b"),
    ],
)
def test_object_stores(uri, kind, path):
    filesystem, found = storage.open_fs(uri)
    assert (type(filesystem).__name__, found) == (kind, path)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "empty address"),
        ("ftp://host/a", "unknown storage 'ftp:'"),
        ("s3:///key", "needs a bucket"),
        ("s3:/key", "needs a bucket"),
        ("file://host/a", "names no host"),
        ("dbfs:/mnt/a", "only dbfs:/Volumes"),
        ("abfss://box/a", "container@account"),
    ],
)
def test_other_addresses_say_what_to_write(uri, message):
    with pytest.raises(StorageError, match=message):
        storage.open_fs(uri)


def test_a_new_file_is_written_once_with_its_folders(tmp_path):
    uri = (tmp_path / "new folder" / "中" / "a.bin").as_uri()
    storage.write_new(uri, b"first")
    with pytest.raises(FileExistsError, match="exists already"):
        storage.write_new(uri, b"second")
    assert storage.read_bytes(uri) == b"first"
    assert [path.name for path in (tmp_path / "new folder" / "中").iterdir()] == ["a.bin"]


def test_of_many_writers_one_wins(tmp_path):
    wins = []

    def write(number: int) -> None:
        try:
            storage.write_new(str(tmp_path / "a"), b"%d" % number * 1_000)
            wins.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert storage.read_bytes(str(tmp_path / "a")) == b"%d" % wins[0] * 1_000


def test_a_volume_without_hard_links_is_written_too(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    storage.write_new(str(tmp_path / "a"), b"x")
    with pytest.raises(FileExistsError):
        storage.write_new(str(tmp_path / "a"), b"y")
    assert storage.list_files(str(tmp_path)) == [str(tmp_path / "a")]


def test_files_are_listed_sorted_through_folders_by_suffix(tmp_path):
    for name in ("b.txt", "a.txt", "deep/er/c.txt", "d.bin"):
        storage.write_new(storage.join(str(tmp_path), name), b"1234")
    expected = [str(tmp_path / name) for name in ("a.txt", "b.txt", "deep/er/c.txt")]
    assert storage.list_files(str(tmp_path), ".txt") == expected
    assert storage.list_files(tmp_path.as_uri(), ".txt") == expected
    assert storage.list_files(expected[0]) == expected[:1]
    assert storage.list_files(str(tmp_path / "nowhere")) == []
    (stat,) = storage.list_stats(str(tmp_path), ".bin")
    assert (stat.size, stat.mtime) == (4, pytest.approx((tmp_path / "d.bin").stat().st_mtime))


def test_a_name_that_is_not_utf8_is_told(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.txt")).touch()
    with pytest.raises(StorageError, match=r"\\xff.txt'\); rename that file"):
        storage.list_files(str(tmp_path))


def test_existence_and_deletion(tmp_path):
    uri = str(tmp_path / "a")
    assert not storage.exists(uri)
    storage.write_new(uri, b"")
    assert storage.exists(uri)
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)


def test_folders_that_hold_nothing_are_deleted_and_no_file(tmp_path):
    for folder in ("wal/run-1/0", "wal/run-1/1", "wal/run-2/0"):
        (tmp_path / folder).mkdir(parents=True)
    kept = tmp_path / "wal/run-2/0/kept.parquet"
    kept.touch()
    storage.delete_empty_folders(f"{tmp_path}/wal")
    assert sorted(path for path in tmp_path.rglob("*") if not path.is_dir()) == [kept]
    assert not (tmp_path / "wal/run-1").exists()
    kept.unlink()
    storage.delete_empty_folders(f"{tmp_path}/wal")
    storage.delete_empty_folders(f"{tmp_path}/wal")
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(str(tmp_path / "gone"))
    with pytest.raises(IsADirectoryError, match="a folder"):
        storage.read_bytes(str(tmp_path))


def test_joined_addresses_lead_to_the_same_file(tmp_path):
    assert storage.join("s3://bucket/a/", "/b/", "c d") == "s3://bucket/a/b/c d"
    assert storage.join("/", "a") == "/a"
    uri = storage.join(tmp_path.as_uri(), "50% of #1", "中")
    storage.write_new(uri, b"x")
    assert storage.list_files(str(tmp_path)) == [str(tmp_path / "50% of #1" / "中")]


@pytest.mark.parametrize(
    "uri", ["s3://b/k", "abfss://c@a.dfs.core.windows.net/k", "file:/k", "file:///k", "dbfs:/Volumes/c/s/v", "/k"]
)
def test_an_absolute_address_stays_as_it_is(uri):
    assert storage.absolute(uri) == uri


def test_a_relative_path_is_made_absolute_against_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert storage.absolute("a/../b") == str(tmp_path / "b")
    assert storage.absolute("~/b") == "/home/me/b"
