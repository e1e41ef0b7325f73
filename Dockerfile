# One file, three images: `api` (no torch), `worker` (torch and diffusers), `monitor` (Flower).
# On a machine with an NVIDIA card the worker's torch is the CUDA build that PyPI serves. For a small
# CPU-only image, build with:
#   --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
FROM python:3.11-slim-bookworm AS common
ARG PIP_EXTRA_INDEX_URL=
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH=/opt/venv/bin:$PATH HOME=/tmp
RUN python3 -m venv /opt/venv \
 && useradd --uid 10001 --no-create-home --home-dir /tmp retouch \
 && mkdir /data && chown retouch:retouch /data
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./

# Super-resolution for the page. If npm or its registry is unavailable, the page works without it.
FROM common AS extras
COPY package.json package-lock.json .npmrc ./
COPY api/__init__.py api/server/page_files.py api/
COPY api/extras api/extras
RUN mkdir -p api/static/extra \
 && { apt-get update -q && apt-get install -q -y --no-install-recommends npm \
 && npm ci --omit=dev --no-audit --no-fund --loglevel=error --fetch-retries=1 \
 && pip install --no-cache-dir -q -c constraints.txt numpy onnx starlette \
 && python3 -m api.extras; } || echo "the page goes without super-resolution"

FROM common AS api
RUN python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /tmp/wants \
 && pip install --no-cache-dir -q -c constraints.txt -r /tmp/wants
COPY shared shared
COPY client client
COPY api api
COPY --from=extras /app/api/static/extra api/static/extra
COPY models models
RUN pip install --no-cache-dir -q --no-deps -e .
USER retouch
CMD ["python3", "-m", "api"]

FROM common AS worker
RUN python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['worker'], sep='\n')" > /tmp/wants \
 && pip install --no-cache-dir -q -c constraints.txt -r /tmp/wants
COPY shared shared
COPY client client
COPY worker worker
COPY models models
RUN pip install --no-cache-dir -q --no-deps -e .
USER retouch
CMD ["python3", "-m", "worker"]

FROM api AS monitor
USER root
RUN pip install --no-cache-dir -q -c constraints.txt "flower>=2.2.0"
USER retouch
CMD ["python3", "-m", "shared.monitor"]
