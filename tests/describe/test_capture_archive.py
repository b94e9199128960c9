"""Archives that are no capture's are refused in one line, whatever is in them."""

from __future__ import annotations

import io
import lzma
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.describe.presets import is_log, load_machine


def member(name: str, size: int = 0, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def archive(path: Path, *items: tarfile.TarInfo) -> str:
    with tarfile.open(path, "w") as out:
        for item in items:
            out.addfile(item, io.BytesIO(bytes(item.size)))
    return str(path)


BAD = {
    "outside": ([member("../boot_params.bin", 4096)], "expected a plain name inside the archive"),
    "absolute": ([member("/etc/passwd", 1)], "expected a plain name inside the archive"),
    "link": ([member("dmesg.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "neither a plain file nor a folder"),
    "hard link": ([member("a", type=tarfile.LNKTYPE, linkname="b")], "neither a plain file nor a folder"),
    "device": ([member("boot_params.bin", type=tarfile.CHRTYPE)], "neither a plain file nor a folder"),
    "pipe": ([member("boot_params.bin", type=tarfile.FIFOTYPE)], "neither a plain file nor a folder"),
    "no capture": ([member("a", 5)], "expected boot_params.bin or memmap.txt"),
    "large": ([member("a", 40 << 20)], "40 bytes|expected at most"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_archive(tmp_path: Path, name: str) -> None:
    items, message = BAD[name]
    with pytest.raises(InputError, match=message) as problem:
        load_machine(archive(tmp_path / "server.tar", *items))
    assert "\n" not in str(problem.value) and "server.tar" in str(problem.value)


def _bomb(folder: Path) -> Path:
    path = folder / "bomb.tar.xz"
    raw = tarfile.TarInfo("a")
    raw.size = 3 << 30
    with lzma.open(path, "wb", preset=0) as out:
        out.write(raw.tobuf())
        out.write(bytes(48 << 20))
    return path


def _many(folder: Path) -> Path:
    path = folder / "many.tar.xz"
    with lzma.open(path, "wb", preset=0) as packed, tarfile.open(fileobj=packed, mode="w|") as out:
        for number in range(10_001):
            out.addfile(tarfile.TarInfo(f"d{number}/"))
    return path


def _cut(folder: Path) -> Path:
    path = Path(archive(folder / "cut.tar", member("boot_params.bin", 4096)))
    path.write_bytes(path.read_bytes()[:1500])
    return path


@pytest.mark.parametrize("make", [_bomb, _cut])
def test_bombs_and_cut_archives_end_soon(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    began = time.monotonic()
    with pytest.raises(InputError, match=path.name):
        load_machine(str(path))
    assert time.monotonic() - began < 5


def test_many_members(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 10000 members"):
        load_machine(str(_many(tmp_path)))


def test_an_archive_is_no_log(tmp_path: Path) -> None:
    assert not is_log(archive(tmp_path / "server.tar", member("a")))
