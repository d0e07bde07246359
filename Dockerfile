# The service in a container: docker build -t facefact . && docker run -p 127.0.0.1:8188:8188 -v facefact:/data facefact --open
FROM python:3.11.9-slim-bookworm

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 HF_HUB_DISABLE_TELEMETRY=1 OMP_NUM_THREADS=1

# libgl1 and libglib2.0-0: MediaPipe's OpenCV, which finds faces in photos. (Debian deletes a version that a newer one
# has replaced, so that a pinned one could not be installed next month.)
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin facefact \
    && install -d -o facefact -g facefact -m 0700 /data

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# A plain PyTorch brings its GPU libraries, several GB; for a smaller image name a place that has CPU builds:
# --build-arg PIP_EXTRA_INDEX_URL=...  (pip reads it from the environment)
ARG PIP_EXTRA_INDEX_URL
# What is installed is this folder, and its dependencies by the ranges of pyproject.toml.
# hadolint ignore=DL3013
RUN pip install torch==2.13.0 \
    && pip install ".[serve,faces,postgres,s3]"

# By its number, which a host knows too.
USER 10001
VOLUME /data
EXPOSE 8188
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8188/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["facefact", "serve", "--host", "0.0.0.0", "--data", "/data"]
CMD ["--api-keys", "/data/keys.json"]
