"""Is the kernel file signed by somebody we trust? Authenticode: a PKCS#7 message about a digest of the PE file.

Needs asn1crypto and pycryptodome. Source: crypto/asymmetric_keys/verify_pefile.c, mscode_parser.c, pkcs7_verify.c,
pkcs7_trust.c, kernel/kexec_file.c @ v6.12
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from asn1crypto import algos, cms, core, parser, pem, x509  # type: ignore[import-untyped, unused-ignore]
from Crypto.Hash import SHA256, SHA384, SHA512
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15

from hw.errors import InputError
from minikern.kexec.errors import KexecError
from minikern.kexec.pefile import digested_ranges, pefile_parse_binary, pefile_strip_sig_wrapper

SPC_INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
HASHES: dict[str, Any] = {"sha256": SHA256, "sha384": SHA384, "sha512": SHA512}
MAX_CHAIN = 8
UNSOUND = (ValueError, TypeError, KeyError, IndexError, AttributeError)  # what asn1crypto raises for damaged bytes


class _SpcIndirectData(core.Sequence):  # type: ignore[misc]
    _fields = [("data", core.Any), ("message_digest", algos.DigestInfo)]  # noqa: RUF012 - how asn1crypto is told


def load_certificate(data: bytes, name: str) -> x509.Certificate:
    """An X.509 certificate, DER or PEM; InputError names the file it is from."""
    try:
        if pem.detect(data):
            _, _, data = pem.unarmor(data)
        certificate = x509.Certificate.load(data, strict=True)
        certificate.native  # noqa: B018 - parsing is lazy; this does it
    except UNSOUND as error:
        raise InputError(f"{name}: expected an X.509 certificate (DER or PEM): {error}") from error
    return certificate


def certificates_of(image: bytes) -> list[x509.Certificate]:
    """The certificates a signed image carries. KexecError as verify_pefile_signature()."""
    signed, _ = _signed_data(pefile_strip_sig_wrapper(image, pefile_parse_binary(image)))
    try:
        return _bundle(signed)
    except UNSOUND as error:
        raise KexecError("EBADMSG", "PKCS#7 certificates", "sound ones", str(error).split("\n")[0]) from error


def verify_pefile_signature(image: bytes, trusted: Sequence[x509.Certificate]) -> x509.Certificate:
    """Verify an image against certificates; returns the signer's.

    KexecError: ELIBBAD (no PE file), ENODATA (unsigned), ENOTSUP, EBADMSG (no sound PKCS#7), ENOPKG (an algorithm this
    kernel does not have), ENOKEY (nobody we trust signed it), EKEYREJECTED (the signature or the digest is wrong).
    """
    pe = pefile_parse_binary(image)
    signed, content = _signed_data(pefile_strip_sig_wrapper(image, pe))
    try:
        signer = _verify_signer(signed, content, trusted)
        name, expected = _content_digest(content)
    except KexecError:
        raise
    except UNSOUND as error:
        raise KexecError("EBADMSG", "PKCS#7 message", "a sound one", str(error).split("\n")[0]) from error
    state = hashlib.new(_hash(name))
    for start, end in digested_ranges(pe, len(image)):
        state.update(memoryview(image)[start:end])
    if state.digest() != expected:
        raise KexecError("EKEYREJECTED", "digest of the file", expected.hex(), state.hexdigest())
    return signer


def kimage_validate_signature(
    image: bytes, trusted: Sequence[x509.Certificate], enforce: bool, locked_down: bool = False
) -> KexecError | None:
    """Apply the kernel's rule: a bad signature is fatal when enforced, EPERM when locked down, else only noted.

    Returns the fault that was let pass, None for a good signature.
    Source: kernel/kexec_file.c:kimage_validate_signature() @ v6.12
    """
    try:
        verify_pefile_signature(image, trusted)
    except KexecError as fault:
        if enforce:
            raise
        if locked_down:
            expected = "a good one: the kernel is locked down"
            raise KexecError("EPERM", "kernel signature", expected, fault.code) from fault
        return fault
    return None


def _hash(name: str) -> str:
    if name not in HASHES:
        raise KexecError("ENOPKG", "digest algorithm", f"one of {', '.join(HASHES)}", name)
    return name


def _signed_data(message: bytes) -> tuple[Any, Any]:
    try:
        info = cms.ContentInfo.load(message)
        signed = info["content"]
        encapsulated = signed["encap_content_info"]
        kind, content = encapsulated["content_type"].dotted, encapsulated["content"].parsed
    except UNSOUND as error:
        raise KexecError("EBADMSG", "PKCS#7 message", "signed data", str(error).split("\n")[0]) from error
    if kind != SPC_INDIRECT_DATA:
        raise KexecError("EBADMSG", "PKCS#7 content", f"{SPC_INDIRECT_DATA} (a digest of a PE file)", str(kind))
    return signed, content


def _content_digest(content: Any) -> tuple[str, bytes]:
    # The message wraps the sequence in a tag of its own, which is no part of what is inside.
    info = _SpcIndirectData.load(parser.emit(0, 1, 16, content.contents))["message_digest"]
    return str(info["digest_algorithm"]["algorithm"].native), bytes(info["digest"].native)


def _bundle(signed: Any) -> list[Any]:
    return [one.chosen for one in signed["certificates"] if one.name == "certificate"]


def _verify_signer(signed: Any, content: Any, trusted: Sequence[Any]) -> x509.Certificate:
    if not len(signed["signer_infos"]):
        raise KexecError("EBADMSG", "PKCS#7 message", "a signer", "none")
    info = signed["signer_infos"][0]
    name = _hash(str(info["digest_algorithm"]["algorithm"].native))
    bundle = _bundle(signed)
    signer = next((one for one in [*bundle, *trusted] if _is_signer(info, one)), None)
    if signer is None:
        raise KexecError("ENOKEY", "signer", "a certificate for it", _issuer_of(info))
    _verify_attributes(info, name, content)
    attributes = info["signed_attrs"].untag().dump()
    _verify_rsa(signer, name, attributes, info["signature"].native, "signature")
    _validate_trust(signer, bundle, trusted)
    return signer


def _is_signer(info: Any, certificate: Any) -> bool:
    sid = info["sid"].chosen
    if info["sid"].name != "issuer_and_serial_number":
        return bool(certificate.key_identifier == sid.native)
    same_serial = certificate.serial_number == sid["serial_number"].native
    return bool(same_serial and certificate.issuer == sid["issuer"])


def _issuer_of(info: Any) -> str:
    sid = info["sid"].chosen
    by_issuer = info["sid"].name == "issuer_and_serial_number"
    return str(sid["issuer"].human_friendly if by_issuer else sid.native.hex())


def _verify_attributes(info: Any, name: str, content: Any) -> None:
    values = [attribute["values"][0].native for attribute in info["signed_attrs"]
              if attribute["type"].native == "message_digest"]  # fmt: skip
    if len(values) != 1:
        raise KexecError("EBADMSG", "PKCS#7 attributes", "one message digest", str(len(values)))
    found = hashlib.new(name, content.contents).digest()
    if found != values[0]:
        raise KexecError("EKEYREJECTED", "message digest", values[0].hex(), found.hex())


def _verify_rsa(certificate: Any, name: str, data: bytes, signature: bytes, what: str) -> None:
    if certificate.public_key.algorithm != "rsa":
        raise KexecError("ENOPKG", "public key", "RSA", str(certificate.public_key.algorithm))
    key = RSA.import_key(certificate.public_key.dump())
    try:
        pkcs1_15.new(key).verify(HASHES[_hash(name)].new(data), signature)
    except ValueError as error:
        raise KexecError("EKEYREJECTED", what, "one made by the certificate's key", "another") from error


def _validate_trust(signer: Any, bundle: Sequence[Any], trusted: Sequence[Any]) -> None:
    """Follow issuers from the signer until somebody we trust. Source: pkcs7_trust.c:pkcs7_validate_trust_one()"""
    current = signer
    for _ in range(MAX_CHAIN):
        if any(one.dump() == current.dump() for one in trusted):
            return
        for issuer in (one for one in trusted if one.subject == current.issuer):
            _verify_issued(current, issuer)
            return
        above = next((one for one in bundle if one.subject == current.issuer and one.dump() != current.dump()), None)
        if above is None:
            break
        _verify_issued(current, above)
        current = above
    raise KexecError("ENOKEY", "signer", "a trusted certificate in its chain", current.subject.human_friendly)


def _verify_issued(certificate: Any, issuer: Any) -> None:
    name = _hash(str(certificate["signature_algorithm"].hash_algo))
    signature = certificate["signature_value"].native
    _verify_rsa(issuer, name, certificate["tbs_certificate"].dump(), signature, "certificate's signature")
