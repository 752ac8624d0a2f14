# A proxy of the data plane. Built from the repository's root:
#
#   docker build --file infra/data-plane.Dockerfile --tag turnpike/data-plane .
FROM rust:1.95-slim-bookworm AS build
# For the allocator, which is built from C. Debian serves one version of it at a time.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The caches are gone after this step, so what is wanted is copied out of them. Where `make ship` was
# run before, the proxy is laid out by what it counted, which is found again by the same target.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/cache \
    counted=$PWD/target/ship/data-plane.profdata \
    && if [ -f "$counted" ]; then export RUSTFLAGS="-Cprofile-use=$counted"; fi \
    && cargo build --release --locked --target "$(uname -m)-unknown-linux-gnu" --target-dir /cache \
        --package data-plane --bin data-plane \
    && install -D --target-directory=/out "/cache/$(uname -m)-unknown-linux-gnu/release/data-plane"

FROM debian:12-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/data-plane /usr/local/bin/
# Where a volume goes that keeps a copy of what is served: TURNPIKE_STATE_DIR.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /state
# No name is needed for a user that owns nothing and signs in nowhere.
USER 10001:10001
ENV TURNPIKE_LISTEN=0.0.0.0:8080 \
    TURNPIKE_METRICS_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090
# Bash speaks enough HTTP for this, and an image without curl has less to patch.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
CMD ["data-plane"]
