"""Files by address, on a disk or in a bucket: open a file system, read, write new objects, list, delete.

An address is a plain path, a `file:` URI (percent-decoded) or the URI of an object store (its key taken literally, as S3 has no escaping).
Credentials come from the environment only, in the way each store's own tools read them; none is ever part of an address.
"""

from __future__ import annotations

import io
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

import pyarrow.fs as pafs

_S3_SCHEMES = ("s3", "s3a", "s3n")
_SUPPORTED = "a plain path, file:, s3://, s3a://, s3n://, gs://, abfss://, hdfs://, dbfs:/Volumes/"


class StorageError(OSError):
    """The storage cannot be used as addressed: unknown scheme, malformed address, no credentials, a failing network. Never the data's fault."""


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file as the storage lists it: `size` in bytes, `mtime` in seconds since 1970 (0.0 where the store gives none)."""

    uri: str
    size: int
    mtime: float


def open_fs(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of an address and the path inside it.

    Errors: StorageError where the scheme is not one of those in the module's head, the address lacks its bucket or container, or the store's client
    cannot be made.
    """
    scheme, rest = _split(uri)
    if scheme == "file":
        return _local(), _local_path(uri, rest)
    if scheme == "dbfs":
        return _local(), _volume_path(uri, rest)
    authority, _, key = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or (not authority and scheme != "hdfs"):
        raise StorageError(f"{uri}: the address needs a bucket or host, as in {scheme}://bucket/path")
    try:
        return _remote(scheme, authority), _remote_path(scheme, authority, key)
    except StorageError:
        raise
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise StorageError(f"{uri}: the {scheme} storage cannot be opened: {reason}") from error


def address_of(uri: str, path: str) -> str:
    """The address of a path inside the file system that `open_fs(uri)` gave; the scheme is kept, local ones are plain absolute paths."""
    scheme, rest = _split(uri)
    if scheme in ("file", "dbfs"):
        return path
    if scheme in ("abfss", "hdfs"):
        authority = rest.removeprefix("//").partition("/")[0]
        return f"{scheme}://{authority}/{path.partition('/')[2]}"
    return f"{uri.partition(':')[0]}://{path}"


def read_bytes(uri: str) -> bytes:
    """The whole content of a file. Errors: FileNotFoundError, or StorageError where the storage fails."""
    with open_input(uri) as stream:
        return stream.readall()


def open_input(uri: str) -> InputFile:
    """A seekable binary stream over a file. Errors: FileNotFoundError, PermissionError, or StorageError where the storage fails."""
    filesystem, path = open_fs(uri)
    try:
        return InputFile(filesystem.open_input_file(path), uri)
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        if _is_folder(filesystem, path):
            raise IsADirectoryError(f"{uri}: a folder, not a file") from error
        raise StorageError(f"{uri}: cannot be opened: {error}") from error


class InputFile(io.RawIOBase):
    """A stream whose failures are told apart from bad data: what goes wrong below it is a StorageError, whatever library reads from it."""

    def __init__(self, native: Any, uri: str) -> None:
        self._native = native
        self._uri = uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes from here, all that follow for -1."""
        try:
            return bytes(self._native.read(None if size is None or size < 0 else size))
        except OSError as error:
            raise StorageError(f"{self._uri}: reading failed: {error}") from error

    def readall(self) -> bytes:
        return self.read()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._native.seek(offset, whence))

    def tell(self) -> int:
        return int(self._native.tell())

    def close(self) -> None:
        self._native.close()
        super().close()


def write_new(uri: str, data: bytes) -> None:
    """Writes a new file, whole or not at all, and makes its parent folders where the storage has folders.

    Errors: FileExistsError where the file is there already. On a disk this is exact for any number of writers; on an object store it is a check
    before an atomic put, so name objects by their content.
    """
    filesystem, path = open_fs(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        _write_new_local(path, data)
        return
    if filesystem.get_file_info(path).type != pafs.FileType.NotFound:
        raise FileExistsError(f"{uri}: exists already")
    if isinstance(filesystem, pafs.HadoopFileSystem):
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    with filesystem.open_output_stream(path) as stream:
        stream.write(data)


def write_over(uri: str, data: bytes) -> None:
    """Writes a file, replacing one that is there, and makes its parent folders where the storage has folders.

    A reader sees the old content or the new, never a part: on a disk by a rename, on an object store because a put is whole.
    """
    filesystem, path = open_fs(uri)
    if not isinstance(filesystem, pafs.LocalFileSystem):
        with filesystem.open_output_stream(path, compression=None) as stream:
            stream.write(data)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    draft = f"{path}.{uuid.uuid4().hex}.part"
    with open(draft, "xb") as stream:
        stream.write(data)
    os.replace(draft, path)


def list_files(uri: str, suffix: str = "") -> list[str]:
    """Addresses of all files at or under `uri` whose name ends with `suffix`, sorted; empty where nothing is there."""
    return [stat.uri for stat in list_stats(uri, suffix)]


def list_stats(uri: str, suffix: str = "") -> list[FileStat]:
    """Like `list_files`, with size and time of each file. Addresses keep the scheme of `uri`; local ones are plain absolute paths."""
    filesystem, path = open_fs(uri)
    infos = [filesystem.get_file_info(path)]
    if infos[0].type != pafs.FileType.File:
        infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    try:
        files = [info for info in infos if info.type == pafs.FileType.File and info.path.endswith(suffix)]
    except UnicodeDecodeError as error:
        raise StorageError(f"{uri}: a file name under it is not UTF-8 ({error.object!r}); rename that file") from error
    stats = [FileStat(address_of(uri, info.path), info.size or 0, (info.mtime_ns or 0) / 1e9) for info in files]
    return sorted(stats, key=lambda stat: stat.uri)


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    filesystem, path = open_fs(uri)
    return bool(filesystem.get_file_info(path).type != pafs.FileType.NotFound)


def delete(uri: str) -> None:
    """Deletes a file; one that is already gone is no error."""
    filesystem, path = open_fs(uri)
    try:
        filesystem.delete_file(path)
    except FileNotFoundError:
        return


def delete_empty_folders(uri: str) -> None:
    """Deletes the folders at and under `uri` that hold nothing; object stores have no folders."""
    filesystem, path = open_fs(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        for folder, _, _ in os.walk(path, topdown=False):
            # One that is not empty stays.
            with suppress(OSError):
                os.rmdir(folder)


def absolute(path: str) -> str:
    """An address with a scheme as it is, and a plain path made absolute against the current folder, `~` for the home folder."""
    return path if "://" in path or path.startswith(("file:", "dbfs:")) else os.path.abspath(os.path.expanduser(path))


def join(base: str, *parts: str) -> str:
    """`base` and `parts` as one address, with exactly one slash between; parts are names as they are, and escaped where `base` is a `file:` URI."""
    names = [part.strip("/") for part in parts]
    if base.startswith("file:"):
        names = [quote(name) for name in names]
    return "/".join([base.rstrip("/"), *names])


def _is_folder(filesystem: pafs.FileSystem, path: str) -> bool:
    try:
        return bool(filesystem.get_file_info(path).type == pafs.FileType.Directory)
    except OSError:
        return False


def _split(uri: str) -> tuple[str, str]:
    scheme, colon, rest = uri.partition(":")
    if not uri:
        raise StorageError("an empty address: give a path or a URI")
    if not colon or "/" in scheme or (not rest.startswith("/")):
        return "file", uri
    scheme = scheme.lower()
    if scheme not in (*_S3_SCHEMES, "file", "gs", "abfss", "hdfs", "dbfs"):
        raise StorageError(f"{uri}: unknown storage '{scheme}:'. Known are {_SUPPORTED}")
    return scheme, rest


def _remote(scheme: str, authority: str) -> pafs.FileSystem:
    if scheme in _S3_SCHEMES:
        return _s3()
    if scheme == "gs":
        return _gcs()
    return _hdfs(authority) if scheme == "hdfs" else _azure(authority)


def _remote_path(scheme: str, authority: str, key: str) -> str:
    if scheme == "hdfs":
        return f"/{key}"
    return f"{authority.partition('@')[0] if scheme == 'abfss' else authority}/{key}"


def _local_path(uri: str, rest: str) -> str:
    if rest == uri:
        return os.path.abspath(uri)
    host, slash, path = rest[2:].partition("/") if rest.startswith("//") else ("", "/", rest[1:])
    if host not in ("", "localhost") or not slash:
        raise StorageError(f"{uri}: a file address names no host, write file:///path")
    return unquote(slash + path)


def _volume_path(uri: str, rest: str) -> str:
    path = "/" + rest.lstrip("/")
    if not path.startswith("/Volumes/"):
        raise StorageError(
            f"{uri}: of dbfs: only dbfs:/Volumes/catalog/schema/volume/... is reachable from Python; copy the files to a volume"
        )
    return path


def _write_new_local(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    draft = f"{path}.{uuid.uuid4().hex}.part"
    try:
        with open(draft, "xb") as stream:
            stream.write(data)
        _publish(draft, path, data)
    except FileExistsError:
        raise FileExistsError(f"{path}: exists already") from None
    finally:
        if os.path.exists(draft):
            os.unlink(draft)


def _publish(draft: str, path: str, data: bytes) -> None:
    try:
        # A hard link fails where the name is taken, which a rename would not, and never shows half a file.
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        # Mounted volumes have no hard links; a killed writer can leave half a file there.
        with open(path, "xb") as stream:
            stream.write(data)


@lru_cache(maxsize=1)
def _local() -> pafs.LocalFileSystem:
    return pafs.LocalFileSystem()


@lru_cache(maxsize=1)
def _s3() -> pafs.S3FileSystem:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return pafs.S3FileSystem(endpoint_override=endpoint)


@lru_cache(maxsize=8)
def _hdfs(authority: str) -> pafs.HadoopFileSystem:
    host, _, port = authority.partition(":")
    return pafs.HadoopFileSystem(host or "default", int(port or 0))


@lru_cache(maxsize=1)
def _gcs() -> pafs.GcsFileSystem:
    return pafs.GcsFileSystem()


@lru_cache(maxsize=8)
def _azure(authority: str) -> pafs.FileSystem:
    container, _, host = authority.partition("@")
    if not (container and host):
        raise StorageError(f"abfss://{authority}: write abfss://container@account.dfs.core.windows.net/path")
    variables = {"account_key": "AZURE_STORAGE_KEY", "sas_token": "AZURE_STORAGE_SAS_TOKEN"}
    secrets = {name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)}
    return pafs.AzureFileSystem(account_name=host.partition(".")[0], **secrets)
