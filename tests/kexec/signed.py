"""A signed kernel image made here: PE headers around the small bzImage, a certificate, an Authenticode signature."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime
from functools import cache
from typing import Any

from asn1crypto import algos, cms, core, keys, x509
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15

from minikern.kexec.pefile import digested_ranges, pefile_parse_binary
from tests.kexec.images import make_bzimage

PE_AT, SECTIONS_AT = 0x40, 0x40 + 24 + 160
HEADERS = 4 * 512
SPC = "1.3.6.1.4.1.311.2.1.4"


def unsigned() -> bytearray:
    """The small image with MZ and PE headers; one section holds all behind them but 72 last bytes."""
    image = make_bzimage()
    image[:2], image[0x3C:0x40] = b"MZ", PE_AT.to_bytes(4, "little")

    def put(offset: int, size: int, value: int) -> None:
        image[PE_AT + offset : PE_AT + offset + size] = value.to_bytes(size, "little")

    image[PE_AT : PE_AT + 4] = b"PE\0\0"
    for offset, size, value in (
        (6, 2, 1), (20, 2, 160), (24, 2, 0x20B), (24 + 60, 4, HEADERS), (24 + 108, 4, 6),
        (SECTIONS_AT - PE_AT + 16, 4, len(image) - HEADERS - 72), (SECTIONS_AT - PE_AT + 20, 4, HEADERS),
    ):  # fmt: skip
        put(offset, size, value)
    return image


@cache
def key(name: str) -> Any:
    """An RSA key for a name; the same in every run, so that what fails once fails again."""
    return RSA.generate(1024, randfunc=random.Random(name).randbytes)


def certificate(subject: str, issuer: str, key_of: str = "") -> x509.Certificate:
    """A certificate for ``subject``, signed by ``issuer``'s key; ``key_of`` gives it another one's public key."""
    name = {who: x509.Name.build({"common_name": who}) for who in (subject, issuer)}
    algorithm = algos.SignedDigestAlgorithm({"algorithm": "sha256_rsa"})
    tbs = x509.TbsCertificate(
        {
            "version": "v3",
            "serial_number": 1 + sum(subject.encode()),
            "signature": algorithm,
            "issuer": name[issuer],
            "validity": {
                "not_before": x509.Time({"utc_time": datetime(2024, 1, 1, tzinfo=UTC)}),
                "not_after": x509.Time({"utc_time": datetime(2044, 1, 1, tzinfo=UTC)}),
            },
            "subject": name[subject],
            "subject_public_key_info": keys.PublicKeyInfo.load(key(key_of or subject).public_key().export_key("DER")),
        }
    )
    signature = pkcs1_15.new(key(issuer)).sign(SHA256.new(tbs.dump()))
    return x509.Certificate(
        {"tbs_certificate": tbs, "signature_algorithm": algorithm, "signature_value": signature}
    )


def sign(image: bytearray, signer: str = "signer", issuer: str = "authority") -> bytes:
    """Append an Authenticode signature by ``signer``, whose certificate it carries."""
    done = bytearray(image)
    digest = hashlib.sha256()
    for start, end in digested_ranges(pefile_parse_binary(bytes(done)), len(done)):
        digest.update(done[start:end])
    inner = core.ObjectIdentifier("1.3.6.1.4.1.311.2.1.15").dump()
    data = b"\x30" + bytes([len(inner)]) + inner
    info = algos.DigestInfo({"digest_algorithm": {"algorithm": "sha256"}, "digest": digest.digest()}).dump()
    body = data + info
    attributes = cms.CMSAttributes(
        [
            {"type": "content_type", "values": [SPC]},
            {"type": "message_digest", "values": [hashlib.sha256(body).digest()]},
        ]
    )
    own = certificate(signer, issuer)
    signed = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": {
                "content_type": SPC,
                "content": core.Any(core.Sequence.load(b"\x30" + bytes([len(body)]) + body).retag({"explicit": 0})),
            },
            "certificates": [own],
            "signer_infos": [
                {
                    "version": "v1",
                    "sid": {"issuer_and_serial_number": {"issuer": own.issuer, "serial_number": own.serial_number}},
                    "digest_algorithm": {"algorithm": "sha256"},
                    "signed_attrs": attributes,
                    "signature_algorithm": {"algorithm": "rsassa_pkcs1v15"},
                    "signature": pkcs1_15.new(key(signer)).sign(SHA256.new(attributes.dump())),
                }
            ],
        }
    )
    message = cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump()
    table = (8 + len(message)).to_bytes(4, "little") + b"\x00\x02\x02\x00" + message
    table = table.ljust(-(-len(table) // 8) * 8, b"\0")
    entry = PE_AT + 24 + 112 + 32
    done[entry : entry + 8] = len(done).to_bytes(4, "little") + len(table).to_bytes(4, "little")
    return bytes(done) + table
