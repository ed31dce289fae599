"""Messages for the exceptions of Azure's packages.

https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
"""

from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError, ServiceResponseError

from model_loader.errors import ConflictError, NotFoundError, StoreError

CONFLICTS = ("BlobAlreadyExists", "ConditionNotMet")


def to_store_error(url: str, name: str, exc: Exception) -> StoreError:
    """Convert an exception of Azure's packages.

    Args:
        url: the store's, without secrets.
        name: of the object that was read or written.
    """
    code = getattr(exc, "error_code", None)
    code = getattr(code, "value", code)
    status = getattr(exc, "status_code", None)
    if code == "BlobNotFound":
        return NotFoundError(f"{name} is not in the store {url}")
    if code == "ContainerNotFound":
        return StoreError(f"the store {url} has no such container: create it, or correct the URL")
    if code in CONFLICTS:
        return ConflictError(f"{name} in the store {url} was written by somebody else")
    if status in (401, 403):
        return StoreError(
            f"the store {url} rejects the credential ({code}): renew the SAS, or give the identity the role "
            "Storage Blob Data Reader, or Storage Blob Data Contributor to publish"
        )
    if isinstance(exc, ClientAuthenticationError):
        return StoreError(
            f"no usable credential for the store {url}: sign in with 'az login', give the workload an "
            "identity, or put a SAS into MODEL_STORE"
        )
    if isinstance(exc, ServiceRequestError | ServiceResponseError):
        return StoreError(f"cannot reach the store {url}: check the URL and the network")
    found = code or status or type(exc).__name__
    return StoreError(f"the store {url} answered {found} for {name!r}: check the URL, or try again")
