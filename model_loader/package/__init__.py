"""Model packages on disk: manifest, IO specs, verification. The service imports no other part of the loader.

A package is a directory with `model.onnx`, its external data files, `manifest.json` and, optionally,
`samples.json` and `baseline.json`. The manifest lists the sha256 of every file, so the sha256 of the
manifest, the digest, identifies the whole package.
"""

from model_loader.errors import PackageError
from model_loader.package.io_spec import (
    ORT_TYPES,
    ModelIO,
    Session,
    TensorSpec,
    check_features,
    read_model_io,
)
from model_loader.package.json_file import is_number, parse_json, read_json
from model_loader.package.manifest import Manifest, encode, parse_manifest
from model_loader.package.manifest_fields import (
    BASELINE_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    NAME,
    SAMPLES_FILE,
    SCHEMA,
    SCHEMA_FILE,
    SIGNATURE_FILE,
    UNLISTED_FILES,
    VERIFIED_FILE,
    FileEntry,
    check_path,
)
from model_loader.package.verify import (
    Package,
    bare_package,
    digest_of,
    hash_file,
    read_package,
    verify_package,
)

__all__ = [
    "BASELINE_FILE",
    "MANIFEST_FILE",
    "MODEL_FILE",
    "NAME",
    "ORT_TYPES",
    "SAMPLES_FILE",
    "SCHEMA",
    "SCHEMA_FILE",
    "SIGNATURE_FILE",
    "UNLISTED_FILES",
    "VERIFIED_FILE",
    "FileEntry",
    "Manifest",
    "ModelIO",
    "Package",
    "PackageError",
    "Session",
    "TensorSpec",
    "bare_package",
    "check_features",
    "check_path",
    "digest_of",
    "encode",
    "hash_file",
    "is_number",
    "parse_json",
    "parse_manifest",
    "read_json",
    "read_model_io",
    "read_package",
    "verify_package",
]
