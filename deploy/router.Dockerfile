# vLLM's router, for the profile `router` of docker-compose.yml. From the project's root:
# docker build -f deploy/router.Dockerfile -t qwen-router .

ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
# The exact version, and only files with the hashes in there
COPY locks/requirements-router.txt /tmp/
RUN /venv/bin/pip install --only-binary :all: --require-hashes -r /tmp/requirements-router.txt

FROM python:${PYTHON}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin qwen-router
COPY --from=build /venv /venv
COPY scripts/start_router.sh /app/scripts/
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ROUTER_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8009/tcp
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m --retries=3 CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8009/liveness', timeout=4)"]
ENTRYPOINT ["bash", "scripts/start_router.sh"]
