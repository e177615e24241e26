"""Stores in Azure file shares, over the REST API."""

from provisioner.stores.azurefiles.store import AzureFilesStore, open_azure_files

__all__ = ["AzureFilesStore", "open_azure_files"]
