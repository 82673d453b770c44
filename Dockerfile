# A static binary in an image that holds nothing else but the certificates of public authorities.
#
#   docker build -t zoom-harvester .
#   docker run --rm --read-only -v zoom-harvester:/data --env-file .env zoom-harvester sync
FROM rust:1.95-alpine AS build
# musl's own compiler builds SQLite, zstd and ring. No version: Alpine keeps only the newest of each release.
# hadolint ignore=DL3018
RUN apk add --no-cache build-base ca-certificates
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist \
    && cp target/dist/zoom-harvester /zoom-harvester \
    && install -d -m 1777 /empty

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /zoom-harvester /usr/local/bin/zoom-harvester
# A new volume takes over its owner, so that the user below may write to it.
COPY --from=build --chown=65532:65532 /empty /data
# The catalog, its log and its lock: all that is written. SQLite's temporary files go there as well, so the root may be read-only.
ENV ZOOM_HARVESTER_DB=/data/harvester.db SQLITE_TMPDIR=/data
WORKDIR /data
VOLUME /data
USER 65532:65532
# SIGTERM ends a run in order, also as the first process of a container; a second one ends it at once.
STOPSIGNAL SIGTERM
# Whether the catalog can be read; a first run makes it within the start period. `status` fails for nothing else.
HEALTHCHECK --interval=1m --timeout=30s --start-period=1m CMD ["/usr/local/bin/zoom-harvester", "status", "--quiet"]
ENTRYPOINT ["/usr/local/bin/zoom-harvester"]
CMD ["sync"]
