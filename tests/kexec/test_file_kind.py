"""Files that are no bzImage are refused by name; a unified kernel image is taken apart."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minikern.commands.kexec import kexec
from minikern.kexec.bzimage import bzimage64_probe
from minikern.kexec.errors import KexecError
from minikern.kexec.file_kind import kind_of
from minikern.kexec.uki import is_uki, uki_parts
from tests.kexec.images import make_bzimage, make_vmlinux, pack
from tests.kexec.signed import sign, unsigned


def make_uki(parts: dict[str, bytes], room: int = 0x1000) -> bytes:
    """A PE file with these sections, as ukify joins them behind the stub's own."""
    parts = {".text": b"\xcc" * 64, **parts}
    head = bytearray(room)
    head[:2], head[0x3C:0x40] = b"MZ", struct.pack("<I", 0x80)
    head[0x80:0x84] = b"PE\0\0"
    struct.pack_into("<HH12xHH", head, 0x84, 0x8664, len(parts), 240, 0x22E)
    at, body, table = 0x80 + 24 + 240, b"", bytearray()
    for name, data in parts.items():
        raw = -(-len(data) // 512) * 512
        table += struct.pack("<8sIIII16x", name.encode(), len(data), 0x1000, raw, room + len(body))
        body += data.ljust(raw, b"\0")
    head[at : at + len(table)] = table
    return bytes(head) + body


def arm64() -> bytes:
    data = bytearray(4096)
    data[:2], data[0x38:0x3C] = b"MZ", b"ARM\x64"
    return bytes(data)


def zboot() -> bytes:
    data = bytearray(4096)
    data[:8], data[0x18:0x1C] = b"MZ\0\0zimg", b"gzip"
    return bytes(data)


FILES = {
    "an arm64 Image": arm64(),
    "an EFI zboot image, packed by gzip": zboot(),
    "a unified kernel image (UKI)": make_uki({".linux": bytes(2000)}),
    "an ELF vmlinux for x86-64, no bzImage": make_vmlinux(),
    "a plain gzip file": pack("gzip", make_vmlinux()),
    "a plain xz file": pack("xz", make_vmlinux()),
    "a plain zstd file": pack("zstd", make_vmlinux()),
    "a cpio archive": b"070701" + bytes(2000),
    "a PE file that holds no Linux kernel": make_uki({".data": bytes(100)}),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_of_another_kind_is_named(what: str) -> None:
    with pytest.raises(KexecError, match="ENOEXEC") as error:
        bzimage64_probe(FILES[what])
    assert what in str(error.value)


def test_a_small_file_is_named_as_well() -> None:
    with pytest.raises(KexecError, match="a plain gzip file"):
        bzimage64_probe(gzip.compress(b"x"))
    assert kind_of(bytes(4096)) == kind_of(b"") == ""


@pytest.mark.parametrize("data", [bytes(make_bzimage()), sign(unsigned())], ids=["plain", "PE"])
def test_a_bzimage_is_no_unified_image(data: bytes) -> None:
    assert not is_uki(data)
    bzimage64_probe(data)


def test_the_parts_of_a_unified_image() -> None:
    data = make_uki({".linux": b"kernel", ".initrd": b"disk", ".cmdline": b"a=b c\n\0", ".uname": b"6.12\0"})
    assert uki_parts(data) == (b"kernel", b"disk", "a=b c", "6.12")
    with pytest.raises(KexecError, match=r"section \.linux"):
        uki_parts(make_uki({".linux": bytes(2000)})[:0x1400])


def run(path: Path, *words: str) -> Result:
    return CliRunner().invoke(kexec, ["tiny", "--kernel", str(path), *words])


def test_the_command_loads_what_is_in_a_unified_image(tmp_path: Path) -> None:
    path = tmp_path / "linux.efi"
    path.write_bytes(make_uki({".linux": bytes(make_bzimage()), ".initrd": b"\x1f\x8b" * 900, ".cmdline": b"in=uki"}))
    done = run(path)
    assert done.exit_code == 0, done.output
    assert "kexec_file_load() says ENOEXEC" in done.stderr
    assert "Command line: in=uki" in done.stdout and "RAMDISK: " in done.stdout
    assert "Command line: given=yes" in run(path, "--append", "given=yes").stdout
    path.write_bytes(make_uki({".linux": arm64()}))
    assert "an arm64 Image" in run(path).stderr


@pytest.mark.parametrize("at", range(0x3C, 0x190, 7))
def test_damaged_headers_end_in_a_line(tmp_path: Path, at: int) -> None:
    data = bytearray(make_uki({".linux": bytes(make_bzimage())}))
    data[at : at + 4] = b"\xff" * 4
    path = tmp_path / "linux.efi"
    path.write_bytes(bytes(data))
    done = run(path)
    assert done.exit_code in (0, 2) and (done.exit_code == 0 or len(done.stderr.splitlines()) <= 2)
