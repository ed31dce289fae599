"""What to do about an error of Azure Blob storage, by its code.

https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
"""

ROLES = (
    "give the identity the role Storage Blob Data Reader on the container, "
    "or Storage Blob Data Contributor to publish"
)
LEASED = "{name} in the store {url} is leased by somebody: wait, or run 'az storage blob lease break'"
NETWORK = (
    "the store {url} rejects the credential or this network ({code}): allow the network in the "
    f"firewall of the storage account, renew the SAS, or {ROLES}"
)
NO_CREDENTIAL = (
    "the store {url} needs a credential ({code}): sign in with 'az login', or append '?' and a SAS"
)

# Error code → message, with the name of the object, the store's URL and the code.
ADVICE = {
    "BlobArchived": (
        "{name} in the store {url} is archived and cannot be read: move it to another tier with "
        "'az storage blob set-tier --tier Hot', which takes up to 15 hours, and exclude models from the "
        "lifecycle rule"
    ),
    "BlobBeingRehydrated": (
        "{name} in the store {url} is being moved out of the archive, which takes up to 15 hours: try again "
        "when 'az storage blob show' has no rehydrationStatus"
    ),
    "LeaseIdMissing": LEASED,
    "LeaseAlreadyPresent": LEASED,
    "LeaseIdMismatchWithBlobOperation": LEASED,
    "BlobImmutableDueToPolicy": (
        "{name} in the store {url} is immutable by a retention policy or a legal hold: the ledger is "
        "rewritten with every entry, so publish into a container without such a policy"
    ),
    "ContainerNotFound": (
        "the store {url} has no such container: create it with 'az storage container create', "
        "or correct the URL"
    ),
    "ContainerBeingDeleted": (
        "the container of the store {url} is being deleted: wait, and create it with "
        "'az storage container create'"
    ),
    "ContainerDisabled": "the container of the store {url} is disabled: ask the account's administrator",
    "AccountIsDisabled": "the account of the store {url} is disabled: ask the subscription's administrator",
    "InvalidBlobType": "{name} in the store {url} is no block blob, so another program wrote it: remove it",
    "InvalidResourceName": (
        "the store {url} has an invalid name (InvalidResourceName): a container has 3 to 63 lower-case "
        "letters, digits and hyphens; correct the URL"
    ),
    "AuthorizationFailure": NETWORK,
    "AuthorizationSourceIPMismatch": NETWORK,
    "AuthorizationPermissionMismatch": (
        "the credential for the store {url} lacks a permission ({code}): take a SAS with read and list, and "
        f"with create and write to publish; or {ROLES}"
    ),
    "InsufficientAccountPermissions": (
        f"the credential for the store {{url}} lacks a permission ({{code}}): {ROLES}"
    ),
    "KeyBasedAuthenticationNotPermitted": (
        "the account of the store {url} accepts no account key, and no SAS made with one: sign in with "
        "'az login', or take a SAS from 'az storage container generate-sas --as-user'"
    ),
    "PublicAccessNotPermitted": NO_CREDENTIAL,
    "NoAuthenticationInformation": NO_CREDENTIAL,
}
