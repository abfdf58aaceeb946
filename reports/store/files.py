"""The files of a store, on a disk or in an object store: a small interface over fsspec.

The content of a store comes from others: names are checked before use and sizes are limited.
Files appear whole or not at all, on disks as well as in object stores.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from reports.errors import GfbenchError
from reports.results.write import StorageError, write_bytes_atomic
from reports.text.masking import keep_text, masked, without_password

MAX_LISTED = 5_000_000
CHUNK_BYTES = 1 << 20
# Here one PUT replaces a file atomically; elsewhere a new file is written and moved into place.
PUT_IS_ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"})
S3_OPTIONS = {"config_kwargs": {"connect_timeout": 15, "retries": {"max_attempts": 4}}}


class StoreError(GfbenchError):
    """A store that cannot be reached, read or written; the message says which and what to do."""

    exit_code = 4


class StoreRefused(GfbenchError):
    """Something that a store does not accept or deliver; trying again does not help."""

    exit_code = 1


class MissingExtra(GfbenchError):
    """A library that only stores and queries need, and that is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        """Name the command that installs it."""
        super().__init__(f"{library} is not installed — pip install 'gfbench[{extra}]'")


class Vanished(Exception):
    """A file that was listed a moment ago does not exist any more: the store was compacted."""


class StoreFiles:
    """The files below one URL; paths are relative to it, with ``/`` between the parts."""

    def __init__(self, url: str) -> None:
        """Take the URL; the store is not contacted yet.

        Raises:
            MissingExtra: the library for such a URL is not installed.
            StoreRefused: the URL cannot be that of a store.
        """
        keep_text(url)
        self.url = without_password(url)
        self._fs, self._root = _filesystem(url)
        protocols = (
            {self._fs.protocol} if isinstance(self._fs.protocol, str) else set(self._fs.protocol)
        )
        self._local = "file" in protocols
        self._atomic = bool(protocols & PUT_IS_ATOMIC)

    @property
    def cache_key(self) -> str:
        """A text that identifies this store and holds no secret."""
        return self.url.rstrip("/") if not self._local else f"file://{self._root}"

    def files(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of each file directly in a folder, by name."""
        entries = self._entries(folder)
        return {name: size for name, (kind, size) in entries.items() if kind == "file"}

    def folders(self, folder: str) -> tuple[str, ...]:
        """Return the names of the folders directly in a folder."""
        entries = self._entries(folder)
        return tuple(sorted(name for name, (kind, _) in entries.items() if kind == "directory"))

    def exists(self, path: str) -> bool:
        """Say whether the file exists."""
        with self._talking(f"look for {path}"):
            self._fs.invalidate_cache()
            return bool(self._fs.isfile(self._at(path)))

    def read(self, path: str, limit: int) -> bytes:
        """Return a file's bytes.

        Raises:
            Vanished: the file does not exist.
            StoreRefused: it is larger than the limit, in bytes.
        """
        return b"".join(self.chunks(path, limit))

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the bytes of many small files by path, fetched in parallel if the store can.

        Raises:
            Vanished: one of them does not exist any more.
        """
        if not paths:
            return {}
        with self._talking("read summaries"):
            # Not cat(), which first asks for each file whether it exists.
            contents = self._fs.cat_ranges([self._at(path) for path in paths], None, None)
            for content in contents:
                if isinstance(content, BaseException):
                    raise content
            return dict(zip(paths, contents, strict=True))

    def chunks(self, path: str, limit: int) -> Iterator[bytes]:
        """Yield a file's bytes in chunks.

        Raises:
            Vanished: the file does not exist.
            StoreRefused: it is larger than the limit, in bytes.
        """
        remaining = limit
        with self._talking(f"read {path}"), self._fs.open(self._at(path), "rb") as file:
            while chunk := file.read(min(CHUNK_BYTES, remaining + 1)):
                remaining -= len(chunk)
                if remaining < 0:
                    raise StoreRefused(f"{self.url}: {path} is larger than {limit >> 20} MiB")
                yield chunk

    def write(self, path: str, content: bytes) -> None:
        """Write a file atomically."""
        with self._talking(f"write {path}"):
            if self._local:
                self._local_folder(path)
                write_bytes_atomic(Path(self._at(path)), content)
            elif self._atomic:
                self._fs.pipe_file(self._at(path), content)
            else:
                self._write_and_move(path, lambda name: self._fs.pipe_file(name, content))

    def upload(self, source: Path, path: str) -> None:
        """Copy a file of this machine into the store, atomically."""
        with self._talking(f"write {path}"):
            if self._atomic:
                self._fs.put_file(os.fspath(source), self._at(path))
                return
            if self._local:
                self._local_folder(path)
            self._write_and_move(path, lambda name: self._fs.put_file(os.fspath(source), name))

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files; files that do not exist are skipped."""
        for path in paths:
            with self._talking(f"delete {path}"):
                try:
                    self._fs.rm_file(self._at(path))
                except FileNotFoundError:
                    continue

    def _write_and_move(self, path: str, write: Callable[[str], object]) -> None:
        """Write a file under a temporary name and move it into place."""
        final = self._at(path)
        temporary = f"{final}.part-{secrets.token_hex(4)}"
        if not self._local:
            self._fs.makedirs(final.rpartition("/")[0], exist_ok=True)
        try:
            write(temporary)
            if self._local:
                _replace_synced(temporary, final)
            else:
                self._fs.mv(temporary, final)
        except BaseException:
            if self._fs.exists(temporary):
                self._fs.rm_file(temporary)
            raise

    def _local_folder(self, path: str) -> None:
        Path(self._at(path)).parent.mkdir(parents=True, exist_ok=True)

    def _entries(self, folder: str) -> Mapping[str, tuple[str, int]]:
        """Return (kind, size in bytes) of each entry of a folder, by name."""
        with self._talking(f"list {folder}"):
            self._fs.invalidate_cache()
            try:
                listing = self._fs.ls(self._at(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            entries = {}
            for entry in listing[:MAX_LISTED]:
                name = entry["name"].rstrip("/").rpartition("/")[2]
                entries[name] = entry["type"], entry["size"] or 0
            return entries

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if self._root else path

    @contextmanager
    def _talking(self, doing: str) -> Iterator[None]:
        """Turn errors of the store into StoreError or Vanished; our own bugs pass unchanged."""
        try:
            yield
        except FileNotFoundError as error:
            raise Vanished(f"{self.url}: cannot {doing}: there is no such file") from error
        except (StoreError, StoreRefused, Vanished):
            raise
        except StorageError as error:
            raise StoreError(f"{self.url}: cannot {doing}: {error}") from error
        except Exception as error:
            if type(error).__module__ == "builtins" and not isinstance(
                error, (OSError, NotImplementedError)
            ):
                raise
            raise StoreError(f"{self.url}: cannot {doing}: {_words(error)}") from None


def check_path(name: str) -> None:
    """Refuse a file's name that could lead out of its folder or break a file system.

    Raises:
        ValueError: the name cannot be that of a file of a run.
    """
    parts = name.split("/")
    bad_part = any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
    bad_character = re.search(r"[\\\x00-\x1f\x7f]", name) is not None or ":" in parts[0]
    if bad_part or bad_character or len(parts) > 12 or PurePosixPath(name).is_absolute():
        raise ValueError(f"{name[:100]!r} cannot be a file of a run")


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise MissingExtra("fsspec", "store") from None
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        raise StoreRefused(f"{without_password(url)}: cannot be a store: http is read-only")
    options: dict[str, Any] = S3_OPTIONS if scheme in ("s3", "s3a") else {}
    try:
        fs, root = fsspec.core.url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **options
        )
    except ImportError as error:
        extra = {"s3": "s3", "s3a": "s3"}.get(scheme)
        if extra is None:
            raise StoreRefused(f"{without_password(url)}: {error}") from None
        raise MissingExtra("s3fs", extra) from None
    except ValueError as error:
        raise StoreRefused(f"{without_password(url)} is not a store: {_words(error)}") from None
    return fs, str(root).rstrip("/")


def _replace_synced(temporary: str, final: str) -> None:
    handle = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(temporary, final)


def _words(error: Exception) -> str:
    """Return an error in one line, without secrets."""
    text = " ".join(str(error).split()) or type(error).__name__
    return masked(text)[:300]
