# One image for the metaserver, the dashboard and the CLI.
FROM python:3.13.1-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY cachemesh cachemesh
COPY cachemesh_command cachemesh_command
COPY metaserver metaserver
COPY dashboard dashboard
RUN python -m venv /opt/cachemesh \
    && /opt/cachemesh/bin/pip install --no-cache-dir ".[cli,server]"

FROM python:3.13.1-slim-bookworm
# Volumes mounted on these directories take over their owner.
RUN useradd --system --uid 10001 --home-dir /var/lib/cachemesh cachemesh \
    && install -d -o cachemesh -m 0700 /var/lib/cachemesh /run/cachemesh
COPY --from=build /opt/cachemesh /opt/cachemesh
COPY docker/create-pool /usr/local/bin/create-pool
ENV PATH=/opt/cachemesh/bin:$PATH PYTHONUNBUFFERED=1
USER cachemesh
WORKDIR /var/lib/cachemesh
EXPOSE 7700 7701
CMD ["cachemesh", "--help"]
