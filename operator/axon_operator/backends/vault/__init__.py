"""OpenBao (or Vault with namespaces): Protocol and adapter. The only importer of hvac."""
