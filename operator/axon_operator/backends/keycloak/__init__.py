"""Keycloak: Protocol and adapter. The only importer of python-keycloak."""
