"""Where things are: the sources in the repository, all state in one cache folder."""

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = REPOSITORY / "tests" / "testbed"
MANIFESTS = REPOSITORY / "manifests"

CLUSTER = "axon"
NODE = f"{CLUSTER}-control-plane"


@dataclass(frozen=True)
class Layout:
    """The cache folder. Deleting it loses nothing but time."""

    cache: Path

    @classmethod
    def from_environment(cls) -> "Layout":
        """AXON_CACHE moves the folder, for example to a disk with more room or one that CI keeps."""
        configured = os.environ.get("AXON_CACHE")
        return cls(Path(configured).expanduser() if configured else Path.home() / ".cache" / "axon-operator")

    @property
    def bin(self) -> Path:
        """kubectl, kind, helm and what goes into the node image."""
        return self.cache / "bin"

    @property
    def docker(self) -> Path:
        """All of the private Docker daemon."""
        return self.cache / "docker"

    @property
    def downloads(self) -> Path:
        """What wheels and Maven gave."""
        return self.cache / "downloads"

    @property
    def logs(self) -> Path:
        """One file per long step, overwritten by its next run."""
        return self.cache / "logs"

    @property
    def pki(self) -> Path:
        """The certificate authority of the backends."""
        return self.cache / "pki"

    @property
    def stamps(self) -> Path:
        """What each cached result was made from."""
        return self.cache / "stamps"

    @property
    def kubeconfig(self) -> Path:
        """Admin access to the kind cluster."""
        return self.cache / "kubeconfig"

    def build_environment(self) -> dict[str, str]:
        """Environment in which Go and uv keep their caches in our folder."""
        return {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOCACHE": str(self.cache / "go" / "build"),
            "GOMODCACHE": str(self.cache / "go" / "mod"),
            # modcacherw: otherwise only root could delete the folder
            "GOFLAGS": "-trimpath -modcacherw",
            "UV_CACHE_DIR": str(self.cache / "uv"),
        }
