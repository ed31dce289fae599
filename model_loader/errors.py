"""What the loader refuses, and why.

LoaderError            one sentence that says what to do; the command line prints it and exits 1
├── PackageError       a package on disk is not what its manifest says
├── GateError          the floors for a model's metrics cannot be used
└── StoreError         the store cannot be reached, or refuses
    ├── NotFoundError  no such model, version or stage in the store
    └── ConflictError  somebody else wrote first
"""


class LoaderError(Exception):
    """Base of everything that the loader raises on purpose."""


class PackageError(LoaderError):
    """A package on disk is not what its manifest says."""


class GateError(LoaderError):
    """The floors for a model's metrics cannot be used."""


class StoreError(LoaderError):
    """The store cannot be reached, or refuses."""


class NotFoundError(StoreError):
    """No such model, version or stage in the store."""


class ConflictError(StoreError):
    """Somebody else wrote first."""
