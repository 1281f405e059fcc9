# The operator. Any Python 3.11+ on a glibc system does as a base: --build-arg BASE_IMAGE=…
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM $BASE_IMAGE AS dependencies
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 hatchling==1.33.0
ENV UV_PROJECT_ENVIRONMENT=/opt/axon-operator \
    UV_PYTHON=python3 \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_CACHE=1
WORKDIR /src
COPY pyproject.toml uv.lock README.md ./
COPY tests/testbed/pyproject.toml tests/testbed/
RUN /opt/build/bin/uv sync --frozen --no-dev --no-install-workspace

FROM dependencies AS operator
COPY operator/ operator/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --disable-pip-version-check --wheel-dir /wheels . \
 && /opt/build/bin/uv pip install --no-deps --python /opt/axon-operator --prefix /opt/operator /wheels/*.whl

FROM $BASE_IMAGE
LABEL org.opencontainers.image.title="axon-operator" \
      org.opencontainers.image.description="Kubernetes operator for Tenants, WorkflowRuntimes and SecretBindings" \
      org.opencontainers.image.licenses="Apache-2.0"
# The dependencies, exactly as locked, are a layer of their own: a change of the sources leaves it alone.
COPY --from=dependencies /opt/axon-operator/ /opt/axon-operator/
COPY --from=operator /opt/operator/ /opt/axon-operator/
ENV PATH=/opt/axon-operator/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["axon-operator"]
