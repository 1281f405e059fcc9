"""The kinds of `axonos.ai/v1alpha1` as pydantic models, their conditions and reasons. Generates `crds/`."""

GROUP = "axonos.ai"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
