"""C2PA manifests in MP4 files: signing one into a finished clip, and reading what a file's manifest says.

A manifest is a signed statement of how a file was made, with a hash of the file (C2PA specification 2.1). The Rust
library behind `c2pa-python` does the work; it is kept from the network, and from telling more than what is written
here: the tool, its version and that the picture was made by it. A time-stamp server is asked only where the operator
names one (`TETE_C2PA_TIMESTAMP`).
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.certificates import SELF_MADE, find_credentials, known_identities
from pipeline.errors import InputError

GENERATOR = "Tête-à-tête"
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for a real picture that a trained model has altered."""
TIMESTAMP = "TETE_C2PA_TIMESTAMP"
"""Environment variable that names a time-stamp server (RFC 3161); none is asked otherwise."""

_hashing = threading.Lock()
"""The library holds up to 512 MB of a large file while it hashes it; so one file after the other. (Its hashes in pieces
need little, but with 0.38.1 a change in the last piece goes unnoticed.)"""
_OTHER_CONTAINERS = (b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"fLaC")
"""How files begin that can hold no manifest of ours, which is MP4's; the library takes them for damaged MP4s."""
_LONG = 400  # characters; names in a stranger's file may have any length
_OFFLINE: dict[str, Any] = {
    "verify": {"verify_trust": True, "ocsp_fetch": False, "remote_manifest_fetch": False},
    "core": {
        "allowed_network_hosts": [],
        "decode_identity_assertions": False,
        "backing_store_memory_threshold_in_mb": 16,  # the signed copy goes to a file meanwhile, not to memory
    },
}
_SIGNING: dict[str, Any] = {
    # Reading back what was just signed takes longer than signing, and the tests do it.
    "verify": {**_OFFLINE["verify"], "verify_after_sign": False},
    "core": _OFFLINE["core"],
    "builder": {
        "thumbnail": {"enabled": False},
        "created_assertion_labels": ["c2pa.actions"],
        "bmff_hash_exclude_free_and_skip_boxes": False,
    },
}


class SigningUnavailable(InputError):
    """`c2pa-python` is not installed, or does not run on this machine."""


@dataclass(frozen=True)
class Manifest:
    """What the manifest of a file says, and whether that holds.

    Attributes:
        intact: whether the file is as it was when it was signed.
        generator: the tool that signed, with its version; None if it is damaged.
        ours: whether that tool is this one, whatever its version.
        signer: name of the certificate's subject.
        certificate: "operator", "self-made" or "unknown".
        proven: whether the certificate is known to be this operator's or this installation's.
        valid: whether the certificate may sign and was not expired.
        digital_source_type: how the picture was made (IPTC's terms).
        signed_at: when, as a time-stamp server says.
    """

    intact: bool
    generator: str | None = None
    ours: bool = False
    signer: str | None = None
    certificate: str = "unknown"
    proven: bool = False
    valid: bool = True
    digital_source_type: str | None = None
    signed_at: str | None = None


def sign(source: Path, target: Path) -> None:
    """Write `source`, an MP4, to `target` with a signed manifest.

    Raises:
        SigningUnavailable: without a working `c2pa-python`.
        InputError: if the certificate or key cannot be used, or the file cannot be signed.
    """
    c2pa = _library()
    credentials = find_credentials()
    server = os.environ.get(TIMESTAMP) or None
    settings = {**_SIGNING, "core": dict(_SIGNING["core"])}
    if server is not None:
        del settings["core"]["allowed_network_hosts"]
    try:
        algorithm = getattr(c2pa.C2paSigningAlg, credentials.algorithm)
        info = c2pa.C2paSignerInfo(
            algorithm, credentials.chain.encode(), credentials.key.encode(), server and server.encode()
        )
        with (
            c2pa.Context.from_dict(settings, signer=c2pa.Signer.from_info(info)) as context,
            open(source, "rb") as unsigned,
            open(target, "w+b") as signed,
            _hashing if server is None else contextlib.nullcontext(),  # a server may take its time
        ):
            c2pa.Builder(_statement(), context=context).sign("video/mp4", unsigned, signed)
    except c2pa.C2paError as error:
        raise InputError(f"The clip could not be signed ({_first_line(error)}); check the certificate.") from error


def read_manifest(path: str | os.PathLike[str]) -> Manifest | None:
    """What a file's manifest says; None if it has none.

    Raises:
        SigningUnavailable: without a working `c2pa-python`.
        OSError: if the file cannot be read.
    """
    c2pa = _library()
    identities = known_identities()
    settings = dict(_OFFLINE)
    if identities:
        settings["trust"] = {"trust_anchors": "".join(one.anchor for one in identities)}
    with open(path, "rb") as file, _hashing:
        if file.read(4) in _OTHER_CONTAINERS:
            return None
        file.seek(0)
        try:
            with c2pa.Context.from_dict(settings) as context, c2pa.Reader("video/mp4", file, context=context) as reader:
                found = json.loads(reader.json())
        except c2pa.C2paError.ManifestNotFound:
            return None
        except c2pa.C2paError.NotSupported:  # no format that can hold one
            return None
        except (c2pa.C2paError, ValueError):
            return Manifest(intact=False)
    serials = {str(one.serial): one.self_made for one in identities}
    return _judge(found, serials)


def _statement() -> dict[str, Any]:
    """The manifest's content: neither title nor file names, nor anything of who made the clip."""
    action = {"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPE}
    return {
        "claim_generator_info": [{"name": GENERATOR, "version": __version__}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }


def _judge(found: dict[str, Any], serials: dict[str, bool]) -> Manifest:
    active = found.get("manifests", {}).get(found.get("active_manifest", ""), {})
    results = found.get("validation_results", {}).get("activeManifest", {})
    failures = {str(one.get("code", "")) for one in results.get("failure", [])}
    failures |= {str(one.get("code", "")) for one in found.get("validation_status", [])}
    doubts = {code for code in failures if code.startswith(("signingCredential.", "timeStamp."))}
    tool = next(iter(active.get("claim_generator_info") or []), {})
    signature = active.get("signature_info") or {}
    trusted = found.get("validation_state") == "Trusted"
    serial = str(signature.get("cert_serial_number"))
    proven = trusted and serial in serials
    own = serials[serial] if proven else signature.get("issuer") == SELF_MADE
    return Manifest(
        intact=found.get("validation_state") in ("Valid", "Trusted") or not failures - doubts,
        generator=_short(" ".join(str(tool[key]) for key in ("name", "version") if tool.get(key))),
        ours=tool.get("name") == GENERATOR,
        signer=_short(signature.get("common_name") or signature.get("issuer")),
        certificate="self-made" if own else "operator" if proven else "unknown",
        proven=proven,
        valid=not doubts - {"signingCredential.untrusted"},
        digital_source_type=_short(_source_type(active)),
        signed_at=_short(signature.get("time")),
    )


def _source_type(manifest: dict[str, Any]) -> str | None:
    """The digital source type of the first action that gives one."""
    for assertion in manifest.get("assertions", []):
        data = assertion.get("data")
        if str(assertion.get("label", "")).startswith("c2pa.actions") and isinstance(data, dict):
            for action in data.get("actions", []):
                if isinstance(action, dict) and action.get("digitalSourceType"):
                    return str(action["digitalSourceType"])
    return None


def _short(text: object) -> str | None:
    """Text of a stranger's file, on one line and of bearable length; None if there is none."""
    cleaned = "".join(letter if letter.isprintable() else " " for letter in str(text or "")).strip()
    return cleaned[:_LONG] or None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _library() -> Any:
    """The `c2pa` module."""
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError) as error:  # not installed, or its native part does not load
        raise SigningUnavailable(
            "Clips are not signed and signatures not checked, because c2pa-python cannot be loaded; install it."
        ) from error
    return c2pa
