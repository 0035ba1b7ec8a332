# The worker: checkout, locked packages with hashes, a user without rights. No embedded servers.
FROM python:3.11-slim AS packages
COPY deploy/requirements.server.lock /tmp/requirements.lock
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/requirements.lock

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tillkeeper \
    && install -d -o 10001 -m 0700 /exchange /bank
COPY --from=packages /venv /venv
WORKDIR /app
COPY tillkeeper tillkeeper
COPY workflows workflows
COPY activities activities
COPY ledger ledger
COPY gateways gateways
COPY worker worker
COPY console console
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TILLKEEPER_ENVIRONMENT=production
USER 10001
EXPOSE 8234 8235
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8235/health/ready', timeout=4)"]
ENTRYPOINT ["python", "-m", "worker"]
CMD ["run"]
