# Two images: `watcher` (the default: sees, tells and rolls back; no torch) and `retrain` (trains too).
#
#   docker build -t tocsin .
#   docker build -t tocsin-retrain --target retrain .
#
# With traces (docs/tracing.md): --build-arg LOCKS="watcher tracing".
# Everything is installed by hash. Name a base image by digest, or a mirror of it, with --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS wheel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.lock requirements/
RUN python -m venv /build && /build/bin/pip install --require-hashes -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY detectors detectors
COPY rollback rollback
COPY monitor monitor
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

FROM ${PYTHON_IMAGE} AS watcher-packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
ARG LOCKS=watcher
COPY requirements/watcher.lock requirements/tracing.lock /src/requirements/
RUN python -m venv --without-pip /opt/tocsin \
    && for lock in $LOCKS; do \
        python -m pip --python /opt/tocsin/bin/python install --require-hashes -r "/src/requirements/$lock.lock" || exit; \
    done
COPY --from=wheel /wheel /wheel
RUN python -m pip --python /opt/tocsin/bin/python install --no-deps --no-index /wheel/*.whl \
    && install -d -m 0750 -o 65532 -g 65532 /var/lib/tocsin

# The same versions as the watcher's, and what training needs besides.
FROM watcher-packages AS retrain-packages
COPY requirements/retrain.lock /src/requirements/
RUN python -m pip --python /opt/tocsin/bin/python install --require-hashes -r /src/requirements/retrain.lock

# Nothing is run from here on: no shell, no package manager, no root is needed, and the root file system may be read-only.
FROM ${PYTHON_IMAGE} AS base
LABEL org.opencontainers.image.title="Tocsin" \
      org.opencontainers.image.description="Watches the classifiers of a security operations centre, tells drift from poisoning, and rolls back" \
      org.opencontainers.image.licenses="Apache-2.0"
# A container is reached from outside of itself: the listener takes every address. State goes to the volume.
ENV PATH=/opt/tocsin/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/tocsin \
    TOCSIN_HTTP__LISTEN=0.0.0.0:9464 \
    TOCSIN_STATE_DIR=/var/lib/tocsin/state
COPY --from=watcher-packages --chown=65532:65532 /var/lib/tocsin /var/lib/tocsin
WORKDIR /var/lib/tocsin
USER 65532:65532
VOLUME /var/lib/tocsin
EXPOSE 9464
STOPSIGNAL SIGTERM
# For `tocsin run`, the default; switch it off (--no-healthcheck) for other commands. Fitting may take minutes: see /healthz.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=4 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=8)"]
ENTRYPOINT ["tocsin"]
CMD ["run", "--config", "/etc/tocsin/tocsin.yaml"]

FROM base AS retrain
COPY --from=retrain-packages /opt/tocsin /opt/tocsin

FROM base AS watcher
COPY --from=watcher-packages /opt/tocsin /opt/tocsin
