# The page for any container host; Hugging Face Spaces need none of this (Spaces.md).
FROM python:3.11-slim-bookworm

COPY packages.txt /tmp/
RUN apt-get update \
    && xargs -a /tmp/packages.txt apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
# Requirements first, so that a change of the code does not install them again.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements.txt -c constraints.txt

COPY app*.py app*.js app*.css LICENSE README.md ./
COPY pipeline pipeline
COPY weights weights
COPY examples examples

RUN useradd --create-home --uid 1000 tete && mkdir /data && chown tete /data
USER tete
VOLUME /data
ENV GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    NUMBA_CACHE_DIR=/tmp/numba \
    TETE_DATA=/data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=4)"]
# Stopped by SIGTERM it removes what it keeps; exec form, so that it gets the signal.
CMD ["python", "app.py"]
