# `facelift app` in a container: docs/app.md says how to build, run and watch it.
#
#   docker build -t facelift .
#   docker build -t facelift:cuda --build-arg BUILD_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu24.04 \
#     --build-arg IMAGE=ubuntu:24.04 --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 \
#     --build-arg CUDA_ARCHITECTURES="8.0;8.6;8.9;9.0" .

# The second image needs the same Python as the first, and nothing of CUDA: torch brings its own.
ARG BUILD_IMAGE=debian:bookworm-slim
ARG IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-dev python3-venv
RUN python3 -m venv /opt/facelift
COPY pyproject.toml README.md LICENSE /source/
COPY facelift /source/facelift
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/facelift/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" '/source[app]'
# gsplat's kernels are compiled here, for a read-only container cannot compile them when it needs them.
ARG CUDA_ARCHITECTURES=""
RUN if [ -n "$CUDA_ARCHITECTURES" ]; then \
      /opt/facelift/bin/pip install --no-cache-dir ninja setuptools wheel && \
      TORCH_CUDA_ARCH_LIST="$CUDA_ARCHITECTURES" /opt/facelift/bin/pip install --no-cache-dir \
        --extra-index-url "$TORCH_INDEX" --no-build-isolation --no-binary gsplat '/source[app,cuda]'; \
    fi

FROM ${IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home --home-dir /tmp facelift
COPY --from=build /opt/facelift /opt/facelift
# All that is written goes to /tmp: photos and heads, and the kernels that numba compiles for this processor.
ENV PATH=/opt/facelift/bin:$PATH HOME=/tmp USER=facelift NUMBA_CACHE_DIR=/tmp/numba HF_HOME=/tmp/huggingface \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/health', timeout=5)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["facelift", "app", "--host", "0.0.0.0", "--port", "7860", "--no-browser", "--drain", "25", \
    "--max-per-visitor", "4"]
