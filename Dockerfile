# Both programs in one image: `docker build -t binding-span .`

FROM rust:1-slim-trixie AS build
WORKDIR /src
COPY . .
# The caches outlive a change of the source; the programs are copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin callee --bin caller \
    && install -D -t /out target/release/callee target/release/caller

FROM debian:trixie-slim
# A volume that is mounted here for the first time takes over the owner.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin binding-span \
    && install -d -m 0700 -o binding-span -g binding-span /run/binding-span /data
COPY --from=build /out/ /usr/local/bin/
USER 10001:10001
WORKDIR /data
CMD ["caller", "demo"]
