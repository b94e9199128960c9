"""The archive of ``minikern capture``, opened with distrust: only plain files of modest size, under plain names."""

from __future__ import annotations

import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from hw.errors import InputError
from hw.files import open_input, read_head
from minikern.describe.capture import is_capture
from minikern.describe.case import Case
from minikern.host.output import Folder, scratch_folder

XZ_MAGIC = b"\xfd7zXZ\0"
TAR_MAGIC_AT, TAR_MAGIC = 257, b"ustar"
MAX_ARCHIVE_BYTES, MAX_UNPACKED_BYTES, MAX_MEMBERS = 64 << 20, 192 << 20, 10_000
MAX_MEMBER_BYTES = 32 << 20
MAX_NAME = 200


def is_archive(path: Path) -> bool:
    """True for a tar, or an xz file that is named like one."""
    head = read_head(path, TAR_MAGIC_AT + len(TAR_MAGIC))
    packed = head.startswith(XZ_MAGIC) and path.name.endswith((".tar.xz", ".txz"))
    return packed or head[TAR_MAGIC_AT:] == TAR_MAGIC


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder with the archive's files, gone afterwards. InputError says which member is none of a capture's."""
    with scratch_folder() as folder:
        try:
            _unpack(path, folder)
        except InputError:
            raise
        except (tarfile.TarError, lzma.LZMAError, EOFError, OSError, ValueError) as error:
            raise InputError(f"{path}: no sound archive: {error}") from None
        yield folder.path


def _unpack(path: Path, folder: Folder) -> None:
    left = MAX_UNPACKED_BYTES
    with open_input(path, MAX_ARCHIVE_BYTES) as raw:
        packed = raw.read(len(XZ_MAGIC)) == XZ_MAGIC
        raw.seek(0)
        with lzma.LZMAFile(raw) if packed else raw as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for count, member in enumerate(archive):
                if count == MAX_MEMBERS:
                    raise InputError(f"{path}: more than {MAX_MEMBERS} members: expected a captured machine")
                left -= member.size
                _take(path, archive, member, folder, left)


def _take(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Folder, left: int) -> None:
    where = f"{path}: member {member.name!r:.80}"
    parts = PurePosixPath(member.name).parts
    if not parts and member.isdir():
        return
    if not parts or member.name.startswith("/") or ".." in parts or "\0" in member.name or len(member.name) > MAX_NAME:
        raise InputError(f"{where}: expected a plain name inside the archive")
    if member.isdir():
        folder.make("/".join(parts))
        return
    if not member.isreg() or member.issparse():
        raise InputError(f"{where}: neither a plain file nor a folder")
    if member.size > MAX_MEMBER_BYTES or left < 0:
        allowed = f"at most {MAX_MEMBER_BYTES} bytes, {MAX_UNPACKED_BYTES} in all"
        raise InputError(f"{where}: {member.size} bytes: expected {allowed}")
    source = archive.extractfile(member)
    folder.write("/".join(parts), source.read() if source else b"")


def spec_from_archive(path: Path, read: Callable[[Path], Case]) -> Case:
    """The machine of an archive, as ``read`` takes it from a folder. InputError names the archive and what is wrong."""
    with unpacked(path) as folder:
        place = capture_root(folder)
        if not is_capture(place):
            wanted = "boot_params.bin or memmap.txt"
            raise InputError(f"{path}: an archive, but no captured machine: expected {wanted} in it")
        try:
            spec = read(place)
        except InputError as error:
            raise InputError(str(error).replace(f"{place}/", f"{path}: ").replace(str(place), str(path))) from None
    spec.name = path.name.removesuffix(".xz").removesuffix(".tar")
    return spec


def capture_root(folder: Path) -> Path:
    """``folder``, or the only folder in it: archives made by hand have one."""
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
