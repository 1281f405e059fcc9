"""The test bed: a real cluster (kind) with OpenBao and Keycloak, from registries or built on this machine."""
