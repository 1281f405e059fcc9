"""The Kubernetes API: Protocol and adapter. The only importer of kubernetes."""
