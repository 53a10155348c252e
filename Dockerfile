# syntax=docker/dockerfile:1

# Image with one program for two uses: a chat peer (the default command) and a node of the registry
# (docker-compose.registry.yml).
#
#   docker build --tag rollcall .

FROM rust:1-slim-bookworm AS build
WORKDIR /build
COPY . .
# The caches keep the dependencies, so that a change of the sources rebuilds only this workspace.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --profile dist --locked --bin rollcall && cp target/dist/rollcall /rollcall

FROM debian:bookworm-slim
# Root certificates for HTTPS: for a Firebase bucket, and for registries behind a proxy.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
# Unprivileged user with its own directory. A new volume mounted there gets the same owner.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin rollcall \
    && install --directory --owner rollcall --group rollcall --mode 0700 /data
COPY --from=build /rollcall /usr/local/bin/rollcall
COPY --chmod=0755 tools/container_health.sh /usr/local/bin/rollcall-health
USER rollcall
WORKDIR /data
# Mesh or election, health and metrics of peers, API of the registry, and LAN.
EXPOSE 8080 9100 3000 50999/udp
# At SIGTERM a peer sends its queued messages, and a leader hands over its leadership.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["rollcall-health"]
ENTRYPOINT ["rollcall"]
CMD ["peer", "--no-input", "--no-lan", "--listen", "0.0.0.0:8080", "--metrics", "0.0.0.0:9100"]
