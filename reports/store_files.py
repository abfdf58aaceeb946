"""The files of a store, wherever they are: fsspec behind a few verbs, and its errors in words.

What a store holds is data from others: names are checked before they are used, sizes are limited.
A file that readers act on appears whole or not at all, on disks and in object stores alike.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from reports import results

MAX_LISTED = 5_000_000
CHUNK_BYTES = 1 << 20
# Where one PUT replaces a file at once; elsewhere it is written beside and moved.
PUT_IS_ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"})
S3_OPTIONS = {"config_kwargs": {"connect_timeout": 15, "retries": {"max_attempts": 4}}}


class StoreProblem(Exception):
    """A store that cannot be reached, read or written; says which and what to do."""


class StoreRefusal(Exception):
    """What a store does not take, or does not hand out, and why; trying again does not help."""


class MissingExtra(Exception):
    """A library that only stores and queries need is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        """Name the command that installs it."""
        super().__init__(f"{library} is not installed — pip install 'gfbench[{extra}]'")


class Vanished(Exception):
    """A file that was listed a moment ago is gone: somebody compacted the store."""


class StoreFiles:
    """Files below one URL; paths are relative to it, with ``/`` between the parts."""

    def __init__(self, url: str) -> None:
        """Take the URL; nothing is asked of the store yet.

        Raises:
            MissingExtra: the library for such a URL is not installed.
            StoreRefusal: no URL that can be a store's.
        """
        self.url = without_password(url)
        self._fs, self._root = _filesystem(url)
        protocols = (
            {self._fs.protocol} if isinstance(self._fs.protocol, str) else set(self._fs.protocol)
        )
        self._local = "file" in protocols
        self._atomic = bool(protocols & PUT_IS_ATOMIC)

    @property
    def cache_key(self) -> str:
        """What tells this store from others, without any secret."""
        return self.url.rstrip("/") if not self._local else f"file://{self._root}"

    def files(self, folder: str) -> dict[str, int]:
        """Return the files right in a folder by name, with their sizes in bytes."""
        found = self._entries(folder)
        return {name: size for name, (kind, size) in found.items() if kind == "file"}

    def folders(self, folder: str) -> tuple[str, ...]:
        """Return the names of the folders right in a folder."""
        found = self._entries(folder)
        return tuple(sorted(name for name, (kind, _) in found.items() if kind == "directory"))

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file."""
        with self._talking(f"look for {path}"):
            self._fs.invalidate_cache()
            return bool(self._fs.isfile(self._at(path)))

    def read(self, path: str, limit: int) -> bytes:
        """Return a file's bytes.

        Raises:
            Vanished: there is none.
            StoreRefusal: it is larger than the limit.
        """
        content = b"".join(self.chunks(path, limit))
        return content

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the bytes of many small files, fetched side by side where the store can.

        Raises:
            Vanished: one of them is gone.
        """
        if not paths:
            return {}
        with self._talking("read summaries"):
            # Not cat(): it asks for each file whether it exists before it fetches it.
            contents = self._fs.cat_ranges([self._at(path) for path in paths], None, None)
            for content in contents:
                if isinstance(content, BaseException):
                    raise content
            return dict(zip(paths, contents, strict=True))

    def chunks(self, path: str, limit: int) -> Iterator[bytes]:
        """Yield a file's bytes in pieces.

        Raises:
            Vanished: there is none.
            StoreRefusal: it is larger than the limit.
        """
        left = limit
        with self._talking(f"read {path}"), self._fs.open(self._at(path), "rb") as file:
            while piece := file.read(min(CHUNK_BYTES, left + 1)):
                left -= len(piece)
                if left < 0:
                    raise StoreRefusal(f"{self.url}: {path} is larger than {limit >> 20} MiB")
                yield piece

    def write(self, path: str, content: bytes) -> None:
        """Write a file whole or not at all."""
        with self._talking(f"write {path}"):
            if self._local:
                self._local_folder(path)
                results.write_bytes_atomic(Path(self._at(path)), content)
            elif self._atomic:
                self._fs.pipe_file(self._at(path), content)
            else:
                self._moved(path, lambda place: self._fs.pipe_file(place, content))

    def upload(self, source: Path, path: str) -> None:
        """Copy a file of this machine into the store, whole or not at all."""
        with self._talking(f"write {path}"):
            if self._atomic:
                self._fs.put_file(os.fspath(source), self._at(path))
                return
            if self._local:
                self._local_folder(path)
            self._moved(path, lambda place: self._fs.put_file(os.fspath(source), place))

    def delete(self, paths: Sequence[str]) -> None:
        """Take files away; those that are gone already are no error."""
        for path in paths:
            with self._talking(f"delete {path}"):
                try:
                    self._fs.rm_file(self._at(path))
                except FileNotFoundError:
                    continue

    def _moved(self, path: str, write: Any) -> None:
        place = self._at(path)
        beside = f"{place}.part-{secrets.token_hex(4)}"
        if not self._local:
            self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
        try:
            write(beside)
            if self._local:
                _replace_synced(beside, place)
            else:
                self._fs.mv(beside, place)
        except BaseException:
            if self._fs.exists(beside):
                self._fs.rm_file(beside)
            raise

    def _local_folder(self, path: str) -> None:
        Path(self._at(path)).parent.mkdir(parents=True, exist_ok=True)

    def _entries(self, folder: str) -> Mapping[str, tuple[str, int]]:
        with self._talking(f"list {folder}"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._at(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            return {
                entry["name"].rstrip("/").rpartition("/")[2]: (entry["type"], entry["size"] or 0)
                for entry in found[:MAX_LISTED]
            }

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if self._root else path

    @contextmanager
    def _talking(self, doing: str) -> Iterator[None]:
        """Turn what goes wrong with the store into words; a bug of ours stays one."""
        try:
            yield
        except FileNotFoundError as error:
            raise Vanished(f"{self.url}: cannot {doing}: there is no such file") from error
        except (StoreProblem, StoreRefusal, Vanished):
            raise
        except results.ResultStorageProblem as error:
            raise StoreProblem(f"{self.url}: cannot {doing}: {error}") from error
        except Exception as error:
            if type(error).__module__ == "builtins" and not isinstance(
                error, (OSError, NotImplementedError)
            ):
                raise
            raise StoreProblem(f"{self.url}: cannot {doing}: {_words(error)}") from None


def check_path(name: str) -> None:
    """Refuse a file's name that would leave its folder or hide in it.

    Raises:
        ValueError: with the reason.
    """
    parts = name.split("/")
    bad = any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
    if bad or len(parts) > 12 or re.search(r"[\\\x00-\x1f\x7f]", name):
        raise ValueError(f"{name[:100]!r} cannot be a file of a run")
    if PurePosixPath(name).is_absolute() or ":" in parts[0]:
        raise ValueError(f"{name[:100]!r} cannot be a file of a run")


def without_password(url: str) -> str:
    """Return a URL that may be shown: no user, no password, no query."""
    return re.sub(r"(?<=//)[^/@]*@", "", url.partition("?")[0])


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise MissingExtra("fsspec", "store") from None
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        raise StoreRefusal(f"{without_password(url)}: cannot be a store: http is read-only")
    options: dict[str, Any] = S3_OPTIONS if scheme in ("s3", "s3a") else {}
    try:
        fs, root = fsspec.core.url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **options
        )
    except ImportError as error:
        extra = {"s3": "s3", "s3a": "s3"}.get(scheme)
        if extra is None:
            raise StoreRefusal(f"{without_password(url)}: {error}") from None
        raise MissingExtra("s3fs", extra) from None
    except ValueError as error:
        raise StoreRefusal(f"{without_password(url)} is not a store: {_words(error)}") from None
    return fs, str(root).rstrip("/")


def _replace_synced(beside: str, place: str) -> None:
    handle = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(beside, place)


def _words(error: Exception) -> str:
    """Return an error in one line, without what might be a secret."""
    words = " ".join(str(error).split()) or type(error).__name__
    for name, value in os.environ.items():
        if len(value) >= 8 and re.search(r"SECRET|TOKEN|PASSWORD|KEY", name):
            words = words.replace(value, "***")
    return without_password(words)[:300]
