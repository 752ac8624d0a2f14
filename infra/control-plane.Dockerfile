# The control plane, with the operators' CLI `turnpike` and the printer of invoices; and, as the
# target `simulator`, the provider simulator of demos. Built from the repository's root:
#
#   docker build --file infra/control-plane.Dockerfile --tag turnpike/control-plane .
FROM rust:1.95-slim-bookworm AS build
# For the allocator, which is built from C. Debian serves one version of it at a time.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The caches are gone after this step, so what is wanted is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bins --package control-plane --package tests \
    && install -D --target-directory=/out \
        target/release/control-plane target/release/turnpike target/release/provider-simulator

# The printer of invoices, and a font for names that its own have no letters for.
FROM rust:1.95-slim-bookworm AS printer
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-droid-fallback && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY invoice-pdf .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked \
    && install -D --target-directory=/out target/release/invoice-pdf \
        /usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf

FROM debian:12-slim AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# No name is needed for a user that owns nothing and signs in nowhere.
USER 10001:10001
EXPOSE 8080

FROM base AS simulator
COPY --from=build /out/provider-simulator /usr/local/bin/
ENV TURNPIKE_SIMULATOR_LISTEN=0.0.0.0:8080
ENTRYPOINT ["provider-simulator"]

FROM base AS control-plane
COPY --from=build /out/control-plane /out/turnpike /usr/local/bin/
COPY --from=printer /out/invoice-pdf /usr/local/bin/
COPY --from=printer /out/DroidSansFallbackFull.ttf /usr/local/share/fonts/
ENV TURNPIKE_LISTEN=0.0.0.0:8080 \
    TURNPIKE_INVOICE_FONTS=/usr/local/share/fonts/DroidSansFallbackFull.ttf \
    TURNPIKE_METRICS_LISTEN=0.0.0.0:9090
EXPOSE 9090
# Bash speaks enough HTTP for this, and an image without curl has less to patch.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
# Not an entry point: `turnpike migrate` and `turnpike demo` are run from this image too.
CMD ["control-plane"]
