"""Signatures: good ones verify, every other kind ends in Linux's code."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from hw.errors import InputError
from minikern.commands.kexec import kexec
from minikern.kexec.errors import KexecError
from minikern.kexec.pefile import pefile_parse_binary
from minikern.kexec.signature import (
    certificates_of,
    kimage_validate_signature,
    load_certificate,
    verify_pefile_signature,
)
from tests.kexec.images import make_bzimage
from tests.kexec.signed import PE_AT, certificate, sign, unsigned


def code(image: bytes, *trusted: object) -> str:
    with pytest.raises(KexecError) as error:
        verify_pefile_signature(image, list(trusted))
    return error.value.code


def test_a_good_signature_by_the_certificate_or_its_issuer() -> None:
    image = sign(unsigned())
    assert [one.subject.native for one in certificates_of(image)] == [{"common_name": "signer"}]
    for trusted in (certificate("signer", "authority"), certificate("authority", "authority")):
        assert verify_pefile_signature(image, [trusted]).subject.native == {"common_name": "signer"}


def test_nobody_we_know_signed_it() -> None:
    image = sign(unsigned())
    assert code(image) == "ENOKEY"
    assert code(image, certificate("stranger", "stranger")) == "ENOKEY"


def test_an_authority_that_did_not_issue_the_certificate() -> None:
    forged = certificate("authority", "impostor", key_of="impostor")
    assert code(sign(unsigned()), forged) == "EKEYREJECTED"


def test_no_pe_file_or_no_signature() -> None:
    assert code(bytes(make_bzimage())) == "ELIBBAD"
    assert code(bytes(unsigned())) == "ENODATA"


@pytest.mark.parametrize("offset", [0x10, 0x300, 5000, -900])
def test_one_flipped_byte_is_refused(offset: int) -> None:
    image = bytearray(sign(unsigned()))
    size = pefile_parse_binary(bytes(image)).signature[0]
    at = offset if offset >= 0 else size + 72 + offset  # also in what no section covers
    image[at] ^= 0x40
    assert code(bytes(image), certificate("signer", "authority")) == "EKEYREJECTED"


def test_the_checksum_is_not_signed() -> None:
    image = bytearray(sign(unsigned()))
    image[PE_AT + 24 + 64] ^= 0xFF
    verify_pefile_signature(bytes(image), [certificate("signer", "authority")])


def test_damage_anywhere_never_passes_or_breaks() -> None:
    image, trusted = sign(unsigned()), certificate("signer", "authority")
    start = pefile_parse_binary(image).signature[0]
    rng = random.Random(3)
    for place in [*(rng.randrange(start, len(image)) for _ in range(150)), *(rng.randrange(0x140) for _ in range(60))]:
        damaged = bytearray(image)
        damaged[place] ^= 1 << rng.randrange(8)
        try:
            verify_pefile_signature(bytes(damaged), [trusted])
        except KexecError as error:
            assert error.code in {"ELIBBAD", "ENODATA", "ENOTSUP", "EBADMSG", "ENOPKG", "ENOKEY", "EKEYREJECTED"}
        else:
            ignored = PE_AT + 24 + 64 <= place < PE_AT + 24 + 68
            padding = place >= len(image) - 8
            assert ignored or padding or place >= start, f"{place:#x} is covered and its change was not found"
    for size in range(0, 0x200, 37):
        assert code(image[:size], trusted) in {"ELIBBAD", "ENODATA"}


def test_the_rule_of_enforcement() -> None:
    bad = bytes(unsigned())
    with pytest.raises(KexecError, match="ENODATA"):
        kimage_validate_signature(bad, [], enforce=True)
    with pytest.raises(KexecError, match="EPERM"):
        kimage_validate_signature(bad, [], enforce=False, locked_down=True)
    let_pass = kimage_validate_signature(bad, [], enforce=False)
    assert let_pass is not None and let_pass.code == "ENODATA"
    trusted = [certificate("signer", "authority")]
    assert kimage_validate_signature(sign(unsigned()), trusted, enforce=True) is None


def test_a_certificate_that_is_none() -> None:
    for data in (b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(InputError, match=r"ca\.pem: expected an X\.509 certificate"):
            load_certificate(data, "ca.pem")


def test_a_certificate_with_other_numbers_is_one_or_none() -> None:
    good, draw, refused = certificate("signer", "authority").dump(), random.Random(1), 0
    for _ in range(2000):
        data = bytearray(good)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            load_certificate(bytes(data), "ca.der")
        except InputError as error:
            refused += 1
            assert "expected an X.509 certificate" in str(error)
    assert 0 < refused < 2000


def test_the_option(tmp_path: Path) -> None:
    good, bad, ca = tmp_path / "good", tmp_path / "bad", tmp_path / "ca.der"
    good.write_bytes(sign(unsigned()))
    bad.write_bytes(unsigned())
    ca.write_bytes(certificate("authority", "authority").dump())
    words = ["tiny", "--json", "--trusted-cert", str(ca), "--kernel"]
    assert CliRunner().invoke(kexec, [*words, str(good)]).exit_code == 0
    done = CliRunner().invoke(kexec, [*words, str(bad)])
    assert (done.exit_code, "ENODATA" in done.stderr) == (2, True)


def test_enforcement_and_lockdown_from_the_command_line(tmp_path: Path) -> None:
    """Linux's outcomes: no signature, a broken one, nobody's key, and what a locked-down kernel says to all of them."""
    good, broken, bare, ca = (tmp_path / name for name in ("good", "broken", "bare", "ca"))
    data = sign(unsigned())
    good.write_bytes(data)
    broken.write_bytes(data[:3000] + bytes([data[3000] ^ 1]) + data[3001:])
    bare.write_bytes(unsigned())
    ca.write_bytes(certificate("authority", "authority").dump())
    trust = ["--trusted-cert", str(ca)]
    for kernel, words, code in (
        (good, [*trust, "--sig-enforce"], ""),
        (bare, [*trust, "--sig-enforce"], "ENODATA"),
        (broken, [*trust, "--sig-enforce"], "EKEYREJECTED"),
        (good, ["--sig-enforce"], "ENOKEY"),
        (good, [*trust, "--lockdown"], ""),
        (broken, [*trust, "--lockdown"], "EPERM"),
        (bare, ["--lockdown"], "EPERM"),
        (bare, ["--lockdown", "--sig-enforce"], "ENODATA"),
        (bare, [], ""),
    ):
        done = CliRunner().invoke(kexec, ["tiny", "--json", "--kernel", str(kernel), *words])
        assert done.exit_code == (2 if code else 0), (kernel.name, words, done.output)
        assert code in done.stderr
