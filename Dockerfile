# All programs in one image: `docker build -t binding-span:0.1.0 .`
#
# Bases are pinned by tag; where a registry can be asked, pin them by digest (`FROM image@sha256:...`).

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
# The caches outlive a change of the source; the programs are copied out of them, without debug information
# but with names, so that a backtrace says something.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin callee --bin caller --bin bspan \
    && install -D -t /out target/release/callee target/release/caller target/release/bspan \
    && strip --strip-debug /out/callee /out/caller /out/bspan \
    && for each in callee caller bspan; do /out/$each --generate man /out/man || exit 1; done

FROM debian:trixie-slim
# A volume that is mounted here for the first time takes over the owner.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin binding-span \
    && install -d -m 0700 -o binding-span -g binding-span /run/binding-span /data
COPY --from=build /out/callee /out/caller /out/bspan /usr/local/bin/
COPY --from=build /out/man/ /usr/local/share/man/man1/
USER 10001:10001
WORKDIR /data
CMD ["bspan", "demo"]
