# One image with every executable of the fleet: a service each (deploy/services), and rookery (the front, and
# everything in one process). The command says which.
#
#   docker build -t rookery .
#   docker run -p 8000:8000 -v rookery:/data rookery            all in one process
#   docker-compose up -d                                        the fleet
#
# Both builders take it, so it uses nothing that only one of them has.

# --- what the dependencies are -----------------------------------------------------------------------
FROM rust:1-bookworm AS manifests
WORKDIR /src
COPY . .
RUN deploy/docker/only-manifests

# --- dependencies, built again only when a manifest changes; then everything -------------------------
FROM rust:1-bookworm AS build
# librdkafka is C and C++, over OpenSSL.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make pkg-config libssl-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ARG PROFILE=release
COPY --from=manifests /src .
RUN cargo build --locked --workspace --exclude bench --bins --features gateway/fleet --profile "$PROFILE"
COPY . .
# Younger than what was built of the empty ones.
RUN find gateway services shared examples -name '*.rs' -exec touch {} + \
 && cargo build --locked --workspace --exclude bench --bins --features gateway/fleet --profile "$PROFILE" \
 && folder=target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE") \
 && mkdir /out \
 && for name in rookery $(cut -d' ' -f1 deploy/services); do \
      cp "$folder/$name" /out/ && strip /out/$name || exit 1; \
    done

# --- what is shipped ---------------------------------------------------------------------------------
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin rookery \
 && mkdir /data && chown rookery:rookery /data
COPY --from=build /out/ /usr/local/bin/
COPY deploy/docker/healthcheck /usr/local/bin/healthcheck
USER rookery
WORKDIR /data
ENV HOST=0.0.0.0 PORT=8000 DATA_DIR=/data LOG_FORMAT=json
EXPOSE 8000
# Alive, not ready: restarting a service mends no database.
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s --retries=3 CMD ["healthcheck", "/health"]
STOPSIGNAL SIGTERM
CMD ["rookery"]
