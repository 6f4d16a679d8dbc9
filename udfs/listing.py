"""The files behind a path: one file, all under a folder, or those that a glob matches, on a disk or in a bucket."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pyarrow.fs as pafs

from udfs.storage import FileStat, StorageError, address_of, open_fs

# What Spark, Delta and Hadoop keep beside the data. Other names with an underscore are data: Hugo's _index.md, Jekyll's _posts.
_BOOKKEEPING = re.compile(
    r"_SUCCESS|_delta_log|_temporary|_metadata|_common_metadata|_spark_metadata|(?:_committed|_started)_.*|.*\._COPYING_"
)
_GLOB = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{([^{}]*)\}")


def find_files(uri: str) -> list[FileStat]:
    """The files behind an address, sorted by it and each once; empty files too, for what reads them must say what became of them.

    A glob knows `*`, `?`, `[a-z]`, `[!a]` and `{a,b}`, none of which but braces goes over a slash; a folder that it matches stands for all files
    under it. A path that is there is taken as it is, whatever signs it has. Left out are names that begin with a dot and what Spark and Delta keep
    beside data (`_SUCCESS`, `_delta_log`, ...), unless the address itself names them. Errors: StorageError where the storage fails.
    """
    filesystem, path = open_fs(uri)
    try:
        roots = [path] if _is_there(filesystem, path) else _matching(filesystem, path)
        found = {info.path: info for root in roots for info in _under(filesystem, root)}
    except UnicodeDecodeError as error:
        raise StorageError(f"{uri}: a file name under it is not UTF-8 ({error.object!r}); rename that file") from error
    stats = (
        FileStat(address_of(uri, info.path), info.size or 0, (info.mtime_ns or 0) / 1e9) for info in found.values()
    )
    return sorted(stats, key=lambda stat: stat.uri)


def covers(uri: str, address: str) -> bool:
    """Tells whether `find_files(uri)` looks at this address, or would if a file were there."""
    filesystem, path = open_fs(uri)
    other, target = open_fs(address)
    if type(filesystem) is not type(other):
        return False
    forms = [re.escape(path)]
    if not _is_there(filesystem, path):
        forms = ["/".join(map(_regex, one.split("/"))) for one in _alternatives(path)]
    return any(re.fullmatch(rf"{form.rstrip('/')}(?:/.*)?", target, re.DOTALL) for form in forms)


def _is_there(filesystem: pafs.FileSystem, path: str) -> bool:
    return bool(filesystem.get_file_info(path).type != pafs.FileType.NotFound)


def _matching(filesystem: pafs.FileSystem, path: str) -> list[str]:
    return [root for one in _alternatives(path) for root in _expanded(filesystem, one)]


def _alternatives(path: str) -> Iterator[str]:
    """The paths without braces that a path with braces stands for."""
    braces = _BRACES.search(path)
    if not braces:
        yield path
        return
    for choice in braces[1].split(","):
        yield from _alternatives(path[: braces.start()] + choice + path[braces.end() :])


def _expanded(filesystem: pafs.FileSystem, path: str) -> list[str]:
    """The paths that a glob matches, found level by level so that only folders that match are listed."""
    head, *names = path.split("/")
    found = [head]
    for name in names:
        if _GLOB.search(name):
            pattern = re.compile(_regex(name), re.DOTALL)
            children = (info for folder in found for info in _listed(filesystem, folder or "/", recursive=False))
            found = [info.path for info in children if pattern.fullmatch(info.base_name) and _is_data(info.base_name)]
        else:
            found = [f"{folder}/{name}" for folder in found]
    return found


def _regex(name: str) -> str:
    parts = (part for part in re.split(r"(\*|\?|\[[^\]]+\])", name) if part)
    return "".join(map(_regex_of, parts))


def _regex_of(part: str) -> str:
    if part == "*":
        return ".*"
    if part == "?":
        return "."
    if part[0] == "[" and part[-1] == "]":
        inside = part[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]"
    return re.escape(part)


def _under(filesystem: pafs.FileSystem, root: str) -> Iterable[pafs.FileInfo]:
    info = filesystem.get_file_info(root)
    if info.type == pafs.FileType.File:
        return [info]
    files = (one for one in _listed(filesystem, root, recursive=True) if one.type == pafs.FileType.File)
    return (one for one in files if all(map(_is_data, one.path[len(root) :].strip("/").split("/"))))


def _listed(filesystem: pafs.FileSystem, folder: str, recursive: bool) -> list[pafs.FileInfo]:
    info = filesystem.get_file_info(folder)
    if info.type == pafs.FileType.File:
        return []
    return list(filesystem.get_file_info(pafs.FileSelector(folder, recursive=recursive, allow_not_found=True)))


def _is_data(name: str) -> bool:
    return not name.startswith(".") and not _BOOKKEEPING.fullmatch(name)
