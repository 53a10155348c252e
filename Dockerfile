# syntax=docker/dockerfile:1

# One program, two uses: a chat peer (the default command) and a node of the registry (docker-compose.registry.yml).
#
#   docker build --tag rollcall .

FROM rust:1-slim-bookworm AS build
WORKDIR /build
COPY . .
# What cargo downloads and builds stays with the builder, so that a change of the sources builds this package alone.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --profile dist --locked --bin rollcall && cp target/dist/rollcall /rollcall

FROM debian:bookworm-slim
# The roots that https is checked against: for a bucket of Firebase, and for registries behind a proxy.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
# Nobody special, and a directory that is theirs; a volume mounted there for the first time gets its owner from here.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin rollcall \
    && install --directory --owner rollcall --group rollcall --mode 0700 /data
COPY --from=build /rollcall /usr/local/bin/rollcall
COPY --chmod=0755 tools/container_health.sh /usr/local/bin/rollcall-health
USER rollcall
WORKDIR /data
# Mesh or election, the peers' health and metrics, the registry's API, and the LAN.
EXPOSE 8080 9100 3000 50999/udp
# A peer says goodbye and a leader hands over.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["rollcall-health"]
ENTRYPOINT ["rollcall"]
CMD ["peer", "--no-input", "--no-lan", "--listen", "0.0.0.0:8080", "--metrics", "0.0.0.0:9100"]
