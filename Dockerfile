# The job as an image: Spark runs inside it (local mode), or as the driver of a standalone or YARN cluster.
#   docker build -t scoreline .
#   docker run --rm -v "$PWD/conf:/opt/scoreline/conf:ro" -v /data:/data scoreline \
#       --config conf/machine-failure.yaml --run-date 2026-11-22
FROM python:3.11.13-slim-bookworm AS build

WORKDIR /opt/scoreline
COPY requirements.lock requirements-java.lock ./
RUN python -m venv venv \
    && venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock \
    && venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-java.lock

FROM python:3.11.13-slim-bookworm

WORKDIR /opt/scoreline
COPY --from=build /opt/scoreline/venv venv
COPY pipelines pipelines
COPY jobs jobs
COPY conf conf
RUN useradd --system --uid 10001 --no-create-home scoreline \
    && install -d -o scoreline /opt/scoreline/work
ENV PATH=/opt/scoreline/venv/bin:$PATH \
    PYSPARK_PYTHON=/opt/scoreline/venv/bin/python \
    SPARK_LOCAL_DIRS=/opt/scoreline/work \
    HOME=/opt/scoreline/work \
    PYTHONDONTWRITEBYTECODE=1 \
    GX_ANALYTICS_ENABLED=false \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001
ENTRYPOINT ["python", "-m", "jobs.run_batch"]
