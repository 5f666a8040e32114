# The service in an image of its own: nothing but Python, the locked libraries and the package.
#
#   docker build -t autoenhance-batch .                           one machine
#   docker build -t autoenhance-batch --build-arg LOCK=shared .   with the extras for several machines (redis, s3)
#   docker build -t autoenhance-sandbox --build-arg LOCK=sandbox .  with the stand-in for the Autoenhance API
# Written out, so that updates of it are proposed.
FROM python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS base

FROM base AS build
ARG LOCK=runtime
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY locks/${LOCK}.txt /tmp/lock.txt
# Only what the lock lists, each file by its hash.
RUN /opt/venv/bin/pip install --require-hashes --no-deps --requirement /tmp/lock.txt \
    && /opt/venv/bin/pip uninstall --yes pip setuptools
COPY service /opt/app/service
RUN /opt/venv/bin/python -m compileall -q /opt/app

FROM base
LABEL org.opencontainers.image.title="autoenhance-batch" \
      org.opencontainers.image.description="All enhanced images of an Autoenhance.ai order as one streamed ZIP" \
      org.opencontainers.image.licenses="Apache-2.0"
# The root file system may be mounted read-only: the service writes to /data alone (and the demo to /tmp).
RUN groupadd --gid 10001 batch \
    && useradd --uid 10001 --gid batch --no-create-home --shell /usr/sbin/nologin batch \
    && install -d -o batch -g batch /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/app /opt/app
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 PORT=8000 DATA_DIR=/data LOG_FORMAT=json
# Not the volume: what lies there as .env would be read as settings.
WORKDIR /opt/app
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Past the proxies of the environment, which are for Autoenhance.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os; from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open(f'http://127.0.0.1:{os.environ[\"PORT\"]}/livez', timeout=2)"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
