"""Every lie an image can tell is refused with Linux's code, and says where."""

from __future__ import annotations

import errno

import pytest

from minikern.kexec.bzimage import bzimage64_probe, load_bzimage
from minikern.kexec.errors import KexecError
from tests.kexec.images import SECTOR, SETUP_SECTS, VERSION, make_bzimage, put


def test_a_good_image() -> None:
    data = bytes(make_bzimage())
    image = load_bzimage(data, 2048 - 31)
    assert image.kernel_offset == (SETUP_SECTS + 1) * SECTOR
    assert image.kernel_bytes == 40_000
    assert (image.memsz, image.load_min, image.kernel_alignment) == (0x60000, 0x1000000, 0x200000)
    assert image.setup_header() == data[0x1F1:0x26C]
    assert (image.compressor(), image.decompressed_bytes()) == ("zstd", 0x50000)
    assert image.version() == VERSION.decode()


def test_no_setup_sectors_means_four() -> None:
    image = make_bzimage()
    put(image, "setup_sects", 0)
    put(image, "payload_length", 0)
    assert load_bzimage(bytes(image), 1).kernel_offset == 5 * SECTOR


FIELDS = [
    ("header", 0x53726449, "ENOEXEC"),
    ("boot_flag", 0x55AA, "ENOEXEC"),
    ("version", 0x020B, "ENOEXEC"),
    ("loadflags", 0x80, "ENOEXEC"),
    ("xloadflags", 0x3E, "ENOEXEC"),
    ("xloadflags", 0x3D, "ENOEXEC"),
    ("relocatable_kernel", 0, "ENOEXEC"),
    ("setup_sects", 200, "ENOEXEC"),
    ("kernel_alignment", 0, "ENOEXEC"),
    ("kernel_alignment", 0x300000, "ENOEXEC"),
    ("init_size", 39_999, "ENOEXEC"),
    ("payload_length", 40_000, "ENOEXEC"),
    ("payload_offset", 0xFFFFFFFF, "ENOEXEC"),
    ("jump", 0x02EB, "ENOEXEC"),
    ("cmdline_size", 50, "EINVAL"),
]


@pytest.mark.parametrize(("name", "value", "code"), FIELDS)
def test_a_lie_in_one_field(name: str, value: int, code: str) -> None:
    image = make_bzimage()
    put(image, name, value)
    with pytest.raises(KexecError) as error:
        load_bzimage(bytes(image), 60)
    assert (error.value.code, error.value.errno) == (code, getattr(errno, code))
    assert error.value.offset is not None
    assert error.value.expected and error.value.found
    assert str(error.value).startswith(code)


def test_five_levels_need_an_image_that_knows_them() -> None:
    image = make_bzimage()
    put(image, "xloadflags", 0x1F)
    bzimage64_probe(bytes(image))
    with pytest.raises(KexecError, match="5LEVEL"):
        bzimage64_probe(bytes(image), pgtable_l5=True)


@pytest.mark.parametrize("size", [0, 1, 0x202, 1023])
def test_a_file_cut_off(size: int) -> None:
    with pytest.raises(KexecError, match=r"ENOEXEC.*1024 bytes"):
        load_bzimage(bytes(make_bzimage()[:size]), 1)


def test_the_command_line_leaves_room_for_elfcorehdr() -> None:
    data = bytes(make_bzimage())
    load_bzimage(data, 2047 - 30)
    with pytest.raises(KexecError, match="EINVAL: command line"):
        load_bzimage(data, 2047 - 29)
