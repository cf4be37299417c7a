"""The names in the emulated subscription, and how much it may use."""

import uuid

TENANT = str(uuid.uuid5(uuid.NAMESPACE_DNS, "tenant.test"))
SUBSCRIPTION = str(uuid.uuid5(uuid.NAMESPACE_DNS, "subscription.test"))
RESOURCE_GROUP = "pretrain-test"
REGION = "westeurope"
STORAGE_ACCOUNT = "pretrainteststore"
BATCH_ACCOUNT = "pretraintestbatch"
REGISTRY = "pretraintest.azurecr.io"
GROUP_PATH = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
IDENTITY = f"{GROUP_PATH}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes"
IDENTITY_CLIENT_ID = str(uuid.uuid5(uuid.NAMESPACE_DNS, "identity.test"))

MANAGEMENT_HOST = "management.azure.com"
BATCH_HOST = f"{BATCH_ACCOUNT}.{REGION}.batch.azure.com"
BLOB_HOST = f"{STORAGE_ACCOUNT}.blob.core.windows.net"
# A kind for every host that is answered; all others are refused.
KINDS = {MANAGEMENT_HOST: "management", BATCH_HOST: "batch", BLOB_HOST: "blob", REGISTRY: "registry"}

QUOTA = {
    "dedicatedCoreQuota": 400,
    "lowPriorityCoreQuota": 32,
    "dedicatedCoreQuotaPerVMFamilyEnforced": True,
    "dedicatedCoreQuotaPerVMFamily": [
        {"name": "standardDDSv5Family", "coreQuota": 400},
        {"name": "standardEDSv5Family", "coreQuota": 0},
    ],
    "poolQuota": 20,
    "activeJobAndJobScheduleQuota": 100,
}
# (family, cores)
VM_SIZES = {
    "Standard_D2ds_v5": ("standardDDSv5Family", 2),
    "Standard_D4ds_v5": ("standardDDSv5Family", 4),
    "Standard_D16ds_v5": ("standardDDSv5Family", 16),
    "Standard_E8ds_v5": ("standardEDSv5Family", 8),
}
# (publisher, offer, sku, node agent, end of support or None); the dates that the service announced for these images
IMAGES = [
    ("microsoft-dsvm", "ubuntu-hpc", "2204", "batch.node.ubuntu 22.04", "2027-06-30T00:00:00Z"),
    (
        "microsoft-azure-batch",
        "ubuntu-server-container",
        "20-04-lts",
        "batch.node.ubuntu 20.04",
        "2025-04-23T00:00:00Z",
    ),
    ("almalinux", "almalinux-hpc", "8_10-hpc-gen2", "batch.node.el 8", None),
]
