"""Adapters: the only places that talk to Kubernetes, OpenBao and Keycloak.

Each package holds a Protocol (what the reconcilers use), one adapter, and the map from the
library's exceptions to the four errors of `backends.errors`.
"""
