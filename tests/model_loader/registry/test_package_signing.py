"""Signed packages: what is signed by whom, and what is refused."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from model_loader.errors import PackageError
from model_loader.package import read_package, verify_package
from model_loader.registry.package_signing import verify_signature
from model_loader.registry.publish import publish
from model_loader.registry.pull import pull
from model_loader.registry.versions import PublishedVersion
from model_loader.store import Store
from tests import models
from tests.model_loader.drafts import write_draft

PASSWORD = "pass word"
OUTPUT = Path("model")


def write_key(path: Path, password: str | None = None) -> Path:
    """A key pair: the private key at `path`, the public one beside it as .pub."""
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The publisher's private key."""
    return write_key(tmp_path / "key.pem")


@pytest.fixture
def signed(store: Store, tmp_path: Path, key: Path) -> PublishedVersion:
    """A signed version of two files, in the store."""
    draft = write_draft(tmp_path / "draft")
    (draft / "parts").mkdir()
    (draft / "parts/vocabulary.txt").write_text("a b")
    return publish(draft, store, sign_key=key)


def test_signed(store: Store, signed: PublishedVersion, key: Path) -> None:
    """A package that is signed by the key is pulled, says so, and is not pulled twice."""
    assert pull(store, signed, OUTPUT, verify_key=key.with_suffix(".pub"))
    assert verify_package(OUTPUT).signed
    assert not pull(store, signed, OUTPUT, verify_key=key.with_suffix(".pub"))


def test_nobody_asked(store: Store, signed: PublishedVersion, key: Path) -> None:
    """What nobody verified does not say that it is signed; asked for later, it is verified then."""
    pull(store, signed, OUTPUT)
    assert not read_package(OUTPUT).signed
    pull(store, signed, OUTPUT, verify_key=key.with_suffix(".pub"))
    assert read_package(OUTPUT).signed


def test_library_agrees(store: Store, signed: PublishedVersion, key: Path) -> None:
    """The signature verifies with the library's own command line, over the whole package."""
    pull(store, signed, OUTPUT)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(OUTPUT)]
    options = ["--signature", str(OUTPUT / "model.sig"), "--public_key", str(key.with_suffix(".pub"))]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded"), done.stderr
    (OUTPUT / "parts/vocabulary.txt").write_text("a c")
    assert subprocess.run([*command, *options], capture_output=True).returncode == 1


def test_unsigned(store: Store, tmp_path: Path, signed: PublishedVersion, key: Path) -> None:
    """A package without a signature is refused where one is asked for, and the model stays as it was."""
    public = key.with_suffix(".pub")
    pull(store, signed, OUTPUT, lock=Path("model.lock"), verify_key=public)
    before = (read_package(OUTPUT).digest, Path("model.lock").read_bytes())
    unsigned = publish(write_draft(tmp_path / "other"), store)
    with pytest.raises(
        PackageError, match=r"is not signed: MODEL_VERIFY_KEY requires a signature by .*key\.pub"
    ):
        pull(store, unsigned, OUTPUT, lock=Path("model.lock"), verify_key=public)
    assert (read_package(OUTPUT).digest, Path("model.lock").read_bytes()) == before
    assert read_package(OUTPUT).signed


def test_wrong_key(store: Store, tmp_path: Path, signed: PublishedVersion) -> None:
    """A signature by another key is refused, also where the package is there already."""
    other = write_key(tmp_path / "other.pem").with_suffix(".pub")
    with pytest.raises(PackageError, match=r"is not signed by .*other\.pub: Key mismatch"):
        pull(store, signed, OUTPUT, verify_key=other)
    assert not OUTPUT.exists()


def test_files_of_another_version(store: Store, tmp_path: Path, signed: PublishedVersion, key: Path) -> None:
    """A right signature of other files is refused: a manifest that agrees with its files is not enough."""
    draft = write_draft(tmp_path / "other", models.affine())
    (draft / "samples.json").unlink()
    forged = publish(draft, store)
    signature, _ = store.read(f"{signed.path}/model.sig") or (b"", "")
    store.write(f"{forged.path}/model.sig", signature, None)
    with pytest.raises(PackageError, match="Signature mismatch"):
        pull(store, forged, OUTPUT, verify_key=key.with_suffix(".pub"))


@pytest.mark.parametrize("asked", [True, False], ids=["key", "no_key"])
def test_forged_note(store: Store, tmp_path: Path, key: Path, asked: bool) -> None:
    """A note that somebody left, and no signature: it does not stand in for one."""
    unsigned = publish(write_draft(tmp_path / "draft"), store)
    pull(store, unsigned, OUTPUT)
    public = key.with_suffix(".pub")
    digest = hashlib.sha256(public.read_bytes()).hexdigest()
    (OUTPUT / "verified.json").write_text(json.dumps({"digest": unsigned.digest, "key": f"sha256:{digest}"}))
    if asked:
        with pytest.raises(PackageError, match="is not signed"):
            pull(store, unsigned, OUTPUT, verify_key=public)
    else:
        assert not pull(store, unsigned, OUTPUT)
        assert not read_package(OUTPUT).signed


def test_huge_signature(store: Store, tmp_path: Path, key: Path) -> None:
    """A signature of gigabytes is refused without being read."""
    pull(store, publish(write_draft(tmp_path / "draft"), store), OUTPUT)
    with (OUTPUT / "model.sig").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(PackageError, match="too large"):
        verify_signature(read_package(OUTPUT), key.with_suffix(".pub"))


def test_other_kind_of_key(store: Store, tmp_path: Path) -> None:
    """A key that cannot sign is told before a version number is claimed."""
    key = tmp_path / "rsa.pem"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    with pytest.raises(PackageError, match=r"cannot sign with .*rsa\.pem"):
        publish(write_draft(tmp_path / "draft"), store, sign_key=key)
    assert store.names("") == []


def test_note_of_another_digest(store: Store, tmp_path: Path, signed: PublishedVersion, key: Path) -> None:
    """The note that a signature was verified counts for the digest that it names alone."""
    pull(store, signed, OUTPUT, verify_key=key.with_suffix(".pub"))
    note = (OUTPUT / "verified.json").read_bytes()
    pull(store, publish(write_draft(tmp_path / "other"), store), OUTPUT)
    assert not (OUTPUT / "verified.json").exists()
    (OUTPUT / "verified.json").write_bytes(note)
    assert not read_package(OUTPUT).signed


def test_note_cannot_be_published(tmp_path: Path, store: Store, signed: PublishedVersion) -> None:
    """A publisher cannot bring the note along; a manifest that lists it is none."""
    pull(store, signed, OUTPUT)
    (OUTPUT / "verified.json").write_text(json.dumps({"digest": "sha256:0"}))
    again = publish(OUTPUT, store)
    assert set(again.manifest.files) == set(signed.manifest.files)
    document = json.loads(signed.text)
    document["files"]["verified.json"] = document["files"]["model.onnx"]
    (OUTPUT / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(PackageError, match=r"none of manifest\.json, model\.sig, verified\.json"):
        read_package(OUTPUT)


def test_password(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encrypted key needs its password, which is in no message."""
    key = write_key(tmp_path / "key.pem", PASSWORD)
    with pytest.raises(PackageError, match=r"cannot sign with .*key\.pem"):
        publish(write_draft(tmp_path / "draft"), store, sign_key=key)
    monkeypatch.setenv("MODEL_SIGN_KEY_PASSWORD", "wrong " + PASSWORD)
    with pytest.raises(PackageError) as invalid_input:
        publish(write_draft(tmp_path / "draft"), store, sign_key=key)
    assert PASSWORD not in str(invalid_input.value)
    monkeypatch.setenv("MODEL_SIGN_KEY_PASSWORD", PASSWORD)
    published = publish(write_draft(tmp_path / "draft"), store, sign_key=key)
    assert pull(store, published, OUTPUT, verify_key=key.with_suffix(".pub"))


def test_no_key(store: Store, tmp_path: Path) -> None:
    """A key that is not there is told before anything is uploaded."""
    with pytest.raises(PackageError, match=r"cannot read the key .*none\.pem"):
        publish(write_draft(tmp_path / "draft"), store, sign_key=tmp_path / "none.pem")
    assert store.names("") == []


def test_broken_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with a signature's bytes, the package is refused in one sentence."""
    from model_loader.store import open_store

    key = write_key(tmp_path / "key.pem")
    store = open_store("file:store")
    pull(store, publish(write_draft(tmp_path / "draft"), store, sign_key=key), OUTPUT)
    package = read_package(OUTPUT)
    good = (OUTPUT / "model.sig").read_bytes()
    choose = random.Random(1)
    broken = [b"", b"{}", b"null", b"[]", b"\xff", good[:100], good.replace(b"ES256", b"")]
    for _ in range(200):
        at = choose.randrange(len(good))
        broken.append(good[:at] + bytes([choose.randrange(256)]) + good[at + 1 :])
    for content in broken:
        (OUTPUT / "model.sig").write_bytes(content)
        if json_of(content) == json_of(good):
            continue
        with pytest.raises(PackageError, match="is not signed by"):
            verify_signature(package, key.with_suffix(".pub"))
    shutil.rmtree(OUTPUT)


def json_of(content: bytes) -> object:
    """The JSON in the bytes, or the bytes."""
    try:
        return json.loads(content)
    except ValueError:
        return content
