"""Exceptions of the loader.

LoaderError            the message says what to do; the command line prints it and exits with 1
├── PackageError       a package on disk is invalid, or differs from its manifest
├── DraftError         a model or its data cannot be made into a package
├── GateError          the limits for a model's metrics cannot be used
├── ServiceFileError   service.toml is missing or invalid
├── SnapshotError      a snapshot of production data is missing, invalid, or was changed
└── StoreError         the store cannot be reached, or rejects the request
    ├── NotFoundError  no such model, version or stage in the store
    ├── ConflictError  somebody else wrote first
    └── DeniedError    the credential is valid, and lacks a permission
"""


class LoaderError(Exception):
    """Base class of the loader's exceptions."""


class PackageError(LoaderError):
    """A package on disk is invalid, or differs from its manifest."""


class DraftError(LoaderError):
    """A model or its data cannot be made into a package."""


class GateError(LoaderError):
    """The limits for a model's metrics cannot be used."""


class ServiceFileError(LoaderError):
    """`service.toml` is missing or invalid."""


class SnapshotError(LoaderError):
    """A snapshot of production data is missing, invalid, or was changed."""


class StoreError(LoaderError):
    """The store cannot be reached, or rejects the request."""


class NotFoundError(StoreError):
    """No such model, version or stage in the store."""


class ConflictError(StoreError):
    """Somebody else wrote first."""


class DeniedError(StoreError):
    """The credential is valid, and lacks the permission for this request."""
