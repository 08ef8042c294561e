"""Marks: what a signed clip tells, what a changed one, and whose certificate it was."""

from __future__ import annotations

import datetime
import json
import logging
import os
import stat
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from heads import one_sentence, write_sound

from pipeline import __version__, certificates, manifests, provenance
from pipeline.certificates import CERTIFICATE, KEY, SELF_MADE, find_credentials
from pipeline.cli import main
from pipeline.errors import InputError, VideoError
from pipeline.evaluation.tampering import CHANGES, boxes, flipped, manifest_box, tamper
from pipeline.provenance import DIGITAL_SOURCE_TYPE, verify
from pipeline.video import VideoWriter


def write(path: Path, sound: Path | None = None, **options: object) -> Path:
    with VideoWriter(path, (64, 48), sound, **options) as writer:
        for level in range(0, 250, 10):
            writer.write(np.full((48, 64, 3), level, np.uint8))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marked")
    sound = write_sound(folder / "tone.wav", 0.2 * np.sin(np.arange(16000) / 5))
    return write(folder / "clip.mp4", sound, settings={"mode": "talk", "seed": 4})


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of an installation that has no certificate yet."""
    folder = tmp_path / "data"
    monkeypatch.setenv("TETE_DATA", str(folder))
    return folder


def test_a_clip_says_what_it_is_and_nothing_of_its_maker(clip: Path) -> None:
    verdict = verify(clip)
    assert verdict.state == "marked" and verdict.certificate == "self-made" and verdict.proven
    assert verdict.generator == f"Tête-à-tête {__version__}" and verdict.digital_source_type == DIGITAL_SOURCE_TYPE
    assert verdict.settings == {"mode": "talk", "seed": 4} and one_sentence(verdict.sentence)
    assert verdict.to_dict()["marked"] and json.dumps(verdict.to_dict())
    data = clip.read_bytes()
    start, end = manifest_box(data)
    for private in (os.environ["TETE_DATA"], str(clip.parent), "clip", "tone", os.uname().nodename, "root@"):
        assert private.encode() not in data[start:end]
    assert [kind for kind, _, _ in boxes(data)][:3] == [b"ftyp", b"uuid", b"moov"]  # it still plays while it loads


def test_every_change_is_told(clip: Path, tmp_path: Path) -> None:
    told = list(tamper(clip, tmp_path))
    assert len(told) == len(CHANGES) >= 12
    assert [found for _, _, found, _ in told] == [due for _, due, _, _ in told]
    assert all(one_sentence(sentence) for *_, sentence in told)


def test_verify_on_the_command_line(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(CHANGES["a bit of the pictures"][0](clip.read_bytes()))
    assert main(["verify", str(clip)]) == 0
    assert ": marked. AI-generated with Tête-à-tête" in capsys.readouterr().out
    assert main(["verify", str(changed), "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "tampered" and not told["marked"] and not told["manifest"]["intact"]


def test_a_clip_in_another_container_has_lost_its_signature_not_its_word(clip: Path, tmp_path: Path) -> None:
    """Matroska holds no manifest: nobody tampered, but nothing is proven any more."""
    other = tmp_path / "clip.mkv"
    with av.open(str(clip)) as source, av.open(str(other), "w") as target:
        target.metadata.update(source.metadata)
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    verdict = verify(other)
    assert verdict.state == "unsigned" and verdict.settings["seed"] == 4
    (tmp_path / "riff.avi").write_bytes(b"RIFF" + clip.read_bytes())
    with pytest.raises(VideoError):
        verify(tmp_path / "riff.avi")


def test_real_footage_is_not_called_made(tmp_path: Path) -> None:
    assert verify(write(tmp_path / "real.mp4", marked=False)).state == "unmarked"
    with pytest.raises(VideoError, match="no file"):
        verify(tmp_path / "missing.mp4")


# --- certificates ---------------------------------------------------------------------------------------------------


def test_a_certificate_is_made_once_and_kept_to_its_owner(installation: Path, clip: Path, tmp_path: Path) -> None:
    assert verify(clip).state == "marked" and not verify(clip).proven  # some other installation's
    assert "some other installation" in verify(clip).sentence
    assert not installation.exists()  # looking makes nothing
    first = find_credentials()
    (file,) = installation.iterdir()
    assert find_credentials() == first and list(installation.iterdir()) == [file]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(installation.stat().st_mode) == 0o700
    file.chmod(0o644)
    assert find_credentials() == first and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().count("PRIVATE KEY") == 2  # one: the authority's own is not kept
    assert verify(write(tmp_path / "own.mp4")).proven
    file.write_text("damaged")
    assert find_credentials() != first and verify(tmp_path / "own.mp4").state == "marked"


def test_the_certificate_says_that_it_is_self_made(installation: Path) -> None:
    from cryptography import x509

    signer, authority = x509.load_pem_x509_certificates(find_credentials().chain.encode())
    for one in (signer, authority):
        (organisation,) = one.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
        assert organisation.value == SELF_MADE
        text = one.subject.rfc4514_string() + one.issuer.rfc4514_string()
        assert os.uname().nodename not in text and Path.home().name not in text.split()
    assert signer.not_valid_after_utc.year - datetime.date.today().year >= 29
    assert signer.not_valid_before_utc.time() == datetime.time()


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key as an authority would give them: RSA, with the authority's certificate behind."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    folder = tmp_path_factory.mktemp("operator")
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Old Vic"), x509.NameAttribute(kind, text)])
        for kind, text in ((x509.NameOID.COMMON_NAME, "An authority"), (x509.NameOID.COMMON_NAME, "The theatre"))
    ]
    chain = []
    for name, key, signs in zip(names, keys, (True, False), strict=True):
        builder = certificates._begin(name, names[0], key, now)
        builder = builder.add_extension(x509.BasicConstraints(signs, None), True)
        builder = builder.add_extension(certificates._usage(signs), True)
        purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder if signs else builder.add_extension(purpose, False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())
        chain.insert(0, builder.add_extension(issuer, False).sign(keys[0], hashes.SHA256()))
    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(b"".join(one.public_bytes(pem) for one in chain))
    secret = keys[1].private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    return folder / "chain.pem", folder / "key.pem"


@pytest.mark.parametrize("as_text", [False, True])
def test_an_operator_signs_with_their_own(operator, installation, tmp_path, monkeypatch, as_text: bool) -> None:
    monkeypatch.setenv(CERTIFICATE, operator[0].read_text() if as_text else str(operator[0]))
    monkeypatch.setenv(KEY, operator[1].read_text() if as_text else str(operator[1]))
    made = write(tmp_path / "made.mp4")
    verdict = verify(made)
    assert (verdict.state, verdict.certificate, verdict.signer) == ("marked", "operator", "The theatre")
    assert verdict.proven and "the operator's certificate (The theatre)" in verdict.sentence
    assert not installation.exists()
    monkeypatch.delenv(CERTIFICATE)
    monkeypatch.delenv(KEY)
    verdict = verify(made)
    assert (verdict.state, verdict.certificate, verdict.proven) == ("marked", "unknown", False)
    assert "nothing here vouches for (The theatre)" in verdict.sentence


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("chain.pem", None, "belong together"),
        ("chain.pem", "missing.pem", "cannot be read"),
        ("chain.pem", "chain.pem", "cannot be used"),
        ("chain.pem", "other.pem", "does not belong to the key"),
    ],
)
def test_a_certificate_that_cannot_be_used_costs_the_signature_not_the_clip(
    operator, installation, tmp_path, monkeypatch, caplog, certificate, key, said
) -> None:
    folder = operator[0].parent
    if key == "other.pem":
        monkeypatch.setenv("TETE_DATA", str(tmp_path / "else"))
        (folder / key).write_text(find_credentials().key)
    monkeypatch.setenv(CERTIFICATE, str(folder / certificate))
    if key is not None:
        monkeypatch.setenv(KEY, str(folder / key))
    provenance._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "tete-a-tete"):
        for name in ("a.mp4", "b.mp4"):
            assert verify(write(tmp_path / name)).state == "unsigned"
    (record,) = caplog.records  # said once, not for each clip
    assert said in record.getMessage() and one_sentence(record.getMessage())
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"a.mp4", "b.mp4"}


def test_without_the_library_a_clip_is_written_and_the_log_says_so(clip, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    provenance._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "tete-a-tete"):
        verdict = verify(write(tmp_path / "a.mp4"))
    (record,) = caplog.records
    assert "install it" in record.getMessage() and one_sentence(record.getMessage())
    assert verdict.state == "unchecked" and verdict.mark is not None and one_sentence(verdict.sentence)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_time_stamp_server_is_asked_only_where_one_is_named(clip, tmp_path, monkeypatch) -> None:
    """Its address is one where nobody answers, so that asking is a failure."""
    manifests.sign(clip, tmp_path / "without.mp4")
    assert verify(tmp_path / "without.mp4").manifest.signed_at is None
    monkeypatch.setenv(manifests.TIMESTAMP, "http://127.0.0.1:9/")
    with pytest.raises(InputError) as error:
        manifests.sign(clip, tmp_path / "with.mp4")
    assert one_sentence(error.value)


def test_the_last_byte_of_a_longer_clip_counts(clip, tmp_path) -> None:
    """Nine megabytes: the library's own way of hashing in pieces misses changes at the end, so it must not be used."""
    unsigned = write(tmp_path / "small.mp4", marked=False).read_bytes()
    start = next(start for kind, start, _ in boxes(unsigned) if kind == b"mdat")
    padding = np.random.default_rng(0).bytes(9 << 20)
    size = (len(unsigned) - start + len(padding)).to_bytes(4, "big")
    long = tmp_path / "long.mp4"
    long.write_bytes(unsigned[:start] + size + unsigned[start + 4 :] + padding)
    assert provenance.seal(long) and verify(long).state == "marked"
    data = long.read_bytes()
    for changed in (data[:-1], flipped(data, len(data) - 1), flipped(data, 5 << 20), data[: 5 << 20] + data[6 << 20 :]):
        long.write_bytes(changed)
        assert verify(long).state == "tampered"


def test_another_tools_manifest_is_told_from_ours(clip, tmp_path, monkeypatch) -> None:
    unsigned = write(tmp_path / "real.mp4", marked=False)
    monkeypatch.setattr(manifests, "GENERATOR", "Some camera")
    manifests.sign(unsigned, tmp_path / "foreign.mp4")
    monkeypatch.undo()
    verdict = verify(tmp_path / "foreign.mp4")
    assert verdict.state == "foreign" and verdict.sentence.startswith("It carries a manifest of Some camera")
