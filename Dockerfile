# Images from one file: `api` (predictions, log, snapshots, training), `evidently-ui`, and `front` for the public profile.
ARG PYTHON_IMAGE=python:3.13-slim-trixie
ARG CADDY_IMAGE=caddy:2.11.4-alpine

FROM ${PYTHON_IMAGE} AS installer
WORKDIR /build
COPY requirements-setup.lock ./
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-setup.lock
# for a quick start; of plotly's 13,000 validators, a file each, a report reads 500, which takes 0.3 s once
ENV COMPILE="python -m compileall -q -j 0 -x plotly/validators /opt/vigie/lib"

FROM installer AS api-packages
ARG EXTRAS=
COPY requirements.lock requirements-boosting.lock deploy/slim.py deploy/install_command.py ./
RUN python -m venv --without-pip /opt/vigie \
    && VIRTUAL_ENV=/opt/vigie /opt/uv/bin/uv pip install --no-cache --no-deps --require-hashes -r requirements.lock ${EXTRAS:+-r requirements-$EXTRAS.lock} \
    && python slim.py /opt/vigie && $COMPILE && /opt/vigie/bin/python install_command.py /app

FROM installer AS ui-packages
COPY requirements-ui.lock deploy/slim.py ./
RUN python -m venv --without-pip /opt/vigie \
    && VIRTUAL_ENV=/opt/vigie /opt/uv/bin/uv pip install --no-cache --no-deps --require-hashes -r requirements-ui.lock \
    && python slim.py /opt/vigie && $COMPILE

FROM ${PYTHON_IMAGE} AS base
# one folder a volume; anyone may write there, because compose runs the containers as the user who owns the secrets
RUN mkdir -m 1777 /data /data/model /data/log /data/reports /data/workspace /data/postgres
ENV PATH=/opt/vigie/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1 \
    HOME=/tmp
WORKDIR /app
USER 10001:10001

FROM base AS evidently-ui
LABEL org.opencontainers.image.title="Vigie: Evidently UI" \
      org.opencontainers.image.description="The self-hosted Evidently UI on SQL storage, with Vigie's launcher"
COPY --from=ui-packages /opt/vigie /opt/vigie
COPY evidently_workspace/__init__.py evidently_workspace/
COPY evidently_workspace/ui evidently_workspace/ui
COPY deploy/healthcheck.py ./
EXPOSE 8001
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "healthcheck.py", "http://127.0.0.1:8001/api/version"]
CMD ["python", "-m", "evidently_workspace.ui", "--host", "0.0.0.0", "--port", "8001"]

FROM ${CADDY_IMAGE} AS front
LABEL org.opencontainers.image.title="Vigie: front" \
      org.opencontainers.image.description="Caddy, able to start without any capability"
# a copy leaves the file capability for low ports behind: with it the kernel refuses to start a container that has none
RUN cp /usr/bin/caddy /usr/local/bin/caddy && mkdir -m 1777 /state
ENV PATH=/usr/local/bin:/usr/bin:/bin \
    XDG_DATA_HOME=/state \
    XDG_CONFIG_HOME=/tmp \
    HOME=/tmp
USER 10001:10001
EXPOSE 8080 8443 8444 8445 8446 8447
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:2080/"]
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile"]

FROM base AS api
LABEL org.opencontainers.image.title="Vigie: API" \
      org.opencontainers.image.description="Predictions, their log, and the snapshots made of it"
ARG EXTRAS=
# LightGBM is the only one that does not bring this library itself
USER 0:0
RUN if [ -n "$EXTRAS" ]; then apt-get update -qq && apt-get install -qq -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*; fi
USER 10001:10001
COPY --from=api-packages /opt/vigie /opt/vigie
COPY model ./model
COPY evidently_workspace ./evidently_workspace
COPY api ./api
COPY scripts ./scripts
COPY vigie ./vigie
COPY deploy/healthcheck.py deploy/page_password.py ./
ENV VIGIE_HOST=0.0.0.0 \
    VIGIE_PORT=8000 \
    VIGIE_MODEL_DIR=/data/model/current \
    VIGIE_REPORTS_DIR=/data/reports
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "healthcheck.py", "http://127.0.0.1:8000/health/ready"]
CMD ["python", "-m", "api"]
