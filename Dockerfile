# The broker and its client as static binaries in an otherwise empty image.
#
#   docker build -t wiber .
#   docker run -p 127.0.0.1:9999:9999 -v wiber-data:/data wiber

FROM rust:1.95-alpine AS build
# The C library, compiler and make that the compression libraries and the allocator are built with. On Alpine binaries are static by default.
RUN apk add --no-cache musl-dev gcc make
WORKDIR /build
COPY . .
# Names stay in the binaries, for the backtrace of a panic; what only a debugger wants is 30 MB.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
RUN cargo build --release --locked --bins
RUN mkdir -p /out/bin /out/volume/data \
    && cp target/release/wiber-server target/release/wiber-client /out/bin/ \
    && chmod 0755 /out/bin/* \
    && chmod 0750 /out/volume/data

FROM scratch
COPY --from=build /out/bin/ /usr/local/bin/
# A new named volume takes the owner of the directory it covers: that makes it writable for the user below.
COPY --from=build --chown=10001:10001 /out/volume/ /
ENV PATH=/usr/local/bin \
    QB_SERVER_HOST=0.0.0.0 \
    WIBER_HOST=0.0.0.0 \
    QB_KAFKA__HOST=0.0.0.0 \
    QB_DATA_DIR=/data
USER 10001:10001
VOLUME /data
EXPOSE 9999 8888 9092
STOPSIGNAL SIGTERM
# The client asks the port that QB_SERVER_PORT names, or 9999.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/wiber-client", "health"]
# A file mounted at /config/broker.json is read; variables win over it.
WORKDIR /
ENTRYPOINT ["/usr/local/bin/wiber-server"]
