"""Signed packages: signing, verification, and signatures that are refused."""

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
from model_loader.registry.pull import pull
from model_loader.registry.versions import PublishedVersion
from model_loader.store import Store
from tests import models
from tests.model_loader.drafts import publish, write_draft, write_external

PASSWORD = "pass word"
OUTPUT = Path("model")


def write_key(path: Path, password: str | None = None) -> Path:
    """Write a key pair: the private key to `path`, the public key next to it as .pub."""
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
    """A signed version with a file in a subdirectory, in the store."""
    draft = write_draft(tmp_path / "draft", assets=["parts/vocabulary.txt"])
    (draft / "parts").mkdir()
    (draft / "parts/vocabulary.txt").write_text("a b")
    return publish(draft, store, sign_key=key)


def test_signed(store: Store, signed: PublishedVersion, key: Path) -> None:
    """A package signed by the key is pulled once, and its record says that it was verified."""
    assert pull(store, signed, OUTPUT, verify_key=key.with_suffix(".pub"))
    assert verify_package(OUTPUT).signed
    assert not pull(store, signed, OUTPUT, verify_key=key.with_suffix(".pub"))


def test_not_verified(store: Store, signed: PublishedVersion, key: Path) -> None:
    """A package pulled without a key is not `signed`; a second pull with the key verifies it."""
    pull(store, signed, OUTPUT)
    assert not read_package(OUTPUT).signed
    pull(store, signed, OUTPUT, verify_key=key.with_suffix(".pub"))
    assert read_package(OUTPUT).signed


def test_library_agrees(store: Store, signed: PublishedVersion, key: Path) -> None:
    """The library's own command line verifies the signature of the whole package."""
    pull(store, signed, OUTPUT)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(OUTPUT)]
    options = ["--signature", str(OUTPUT / "model.sig"), "--public_key", str(key.with_suffix(".pub"))]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded"), done.stderr
    (OUTPUT / "parts/vocabulary.txt").write_text("a c")
    assert subprocess.run([*command, *options], capture_output=True).returncode == 1


def test_unsigned(store: Store, tmp_path: Path, signed: PublishedVersion, key: Path) -> None:
    """A package without a signature is refused if a key is given, and the model is not changed."""
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
    """A signature by another key is refused."""
    other = write_key(tmp_path / "other.pem").with_suffix(".pub")
    with pytest.raises(PackageError, match=r"is not signed by .*other\.pub: Key mismatch"):
        pull(store, signed, OUTPUT, verify_key=other)
    assert not OUTPUT.exists()


def test_files_of_another_version(store: Store, tmp_path: Path, signed: PublishedVersion, key: Path) -> None:
    """A valid signature of other files is refused, even if the manifest matches its files."""
    draft = write_draft(tmp_path / "other", models.affine())
    (draft / "samples.json").unlink()
    forged = publish(draft, store)
    signature, _ = store.read(f"{signed.path}/model.sig") or (b"", "")
    store.write(f"{forged.path}/model.sig", signature, None)
    with pytest.raises(PackageError, match="Signature mismatch"):
        pull(store, forged, OUTPUT, verify_key=key.with_suffix(".pub"))


@pytest.mark.parametrize("verify", [True, False], ids=["key", "no_key"])
def test_forged_record(store: Store, tmp_path: Path, key: Path, verify: bool) -> None:
    """A forged record does not replace a signature."""
    unsigned = publish(write_draft(tmp_path / "draft"), store)
    pull(store, unsigned, OUTPUT)
    public = key.with_suffix(".pub")
    digest = hashlib.sha256(public.read_bytes()).hexdigest()
    (OUTPUT / "verified.json").write_text(json.dumps({"digest": unsigned.digest, "key": f"sha256:{digest}"}))
    if verify:
        with pytest.raises(PackageError, match="is not signed"):
            pull(store, unsigned, OUTPUT, verify_key=public)
    else:
        assert not pull(store, unsigned, OUTPUT)
        assert not read_package(OUTPUT).signed


def test_huge_signature(store: Store, tmp_path: Path, key: Path) -> None:
    """A signature file of gigabytes is refused without being read."""
    pull(store, publish(write_draft(tmp_path / "draft"), store), OUTPUT)
    with (OUTPUT / "model.sig").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(PackageError, match="too large"):
        verify_signature(read_package(OUTPUT), key.with_suffix(".pub"))


def test_other_kind_of_key(store: Store, tmp_path: Path) -> None:
    """A key of another kind is refused before a version is claimed."""
    key = tmp_path / "rsa.pem"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    with pytest.raises(PackageError, match=r"cannot sign with .*rsa\.pem"):
        publish(write_draft(tmp_path / "draft"), store, sign_key=key)
    assert store.names("") == []


def test_record_of_another_digest(store: Store, tmp_path: Path, signed: PublishedVersion, key: Path) -> None:
    """The record that a signature was verified is valid for its digest only."""
    pull(store, signed, OUTPUT, verify_key=key.with_suffix(".pub"))
    record = (OUTPUT / "verified.json").read_bytes()
    pull(store, publish(write_draft(tmp_path / "other"), store), OUTPUT)
    assert not (OUTPUT / "verified.json").exists()
    (OUTPUT / "verified.json").write_bytes(record)
    assert not read_package(OUTPUT).signed


def test_single_file(store: Store, tmp_path: Path, key: Path) -> None:
    """A single file is signed with its external data, as the package that will be pulled."""
    draft = write_external(tmp_path / "draft")
    (draft / "model.onnx").rename(draft / "any.onnx")
    published = publish(draft / "any.onnx", store, name="any", sign_key=key)
    pull(store, published, OUTPUT, verify_key=key.with_suffix(".pub"))
    assert sorted(path.name for path in draft.iterdir()) == ["any.onnx", "manifest.json", "weights.bin"]


def test_record_cannot_be_published(tmp_path: Path, store: Store, signed: PublishedVersion) -> None:
    """Publishing leaves the record out, and a manifest that lists it is invalid."""
    pull(store, signed, OUTPUT)
    (OUTPUT / "verified.json").write_text(json.dumps({"digest": "sha256:0"}))
    again = publish(OUTPUT, store)
    assert set(again.manifest.files) == set(signed.manifest.files)
    document = json.loads(signed.text)
    document["files"]["verified.json"] = document["files"]["model.onnx"]
    (OUTPUT / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(PackageError, match=r"files must not list verified\.json"):
        read_package(OUTPUT)


def test_password(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encrypted key needs its password, which no message contains."""
    key = write_key(tmp_path / "key.pem", PASSWORD)
    with pytest.raises(PackageError, match=r"cannot sign with .*key\.pem"):
        publish(write_draft(tmp_path / "draft"), store, sign_key=key)
    monkeypatch.setenv("MODEL_SIGN_KEY_PASSWORD", "wrong " + PASSWORD)
    with pytest.raises(PackageError) as caught:
        publish(write_draft(tmp_path / "draft"), store, sign_key=key)
    assert PASSWORD not in str(caught.value)
    monkeypatch.setenv("MODEL_SIGN_KEY_PASSWORD", PASSWORD)
    published = publish(write_draft(tmp_path / "draft"), store, sign_key=key)
    assert pull(store, published, OUTPUT, verify_key=key.with_suffix(".pub"))


def test_no_key(store: Store, tmp_path: Path) -> None:
    """A missing key is refused before anything is uploaded."""
    with pytest.raises(PackageError, match=r"cannot read the key .*none\.pem"):
        publish(write_draft(tmp_path / "draft"), store, sign_key=tmp_path / "none.pem")
    assert store.names("") == []


def test_broken_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any damage to the signature file is refused with a message."""
    from model_loader.store import open_store

    key = write_key(tmp_path / "key.pem")
    store = open_store("file:store")
    pull(store, publish(write_draft(tmp_path / "draft"), store, sign_key=key), OUTPUT)
    package = read_package(OUTPUT)
    good = (OUTPUT / "model.sig").read_bytes()
    numbers = random.Random(1)
    broken = [b"", b"{}", b"null", b"[]", b"\xff", good[:100], good.replace(b"ES256", b"")]
    for _ in range(200):
        at = numbers.randrange(len(good))
        broken.append(good[:at] + bytes([numbers.randrange(256)]) + good[at + 1 :])
    for content in broken:
        (OUTPUT / "model.sig").write_bytes(content)
        if json_of(content) == json_of(good):
            continue
        with pytest.raises(PackageError, match="is not signed by"):
            verify_signature(package, key.with_suffix(".pub"))
    shutil.rmtree(OUTPUT)


def json_of(content: bytes) -> object:
    """Return the parsed JSON, or the bytes if they are not JSON."""
    try:
        return json.loads(content)
    except ValueError:
        return content
