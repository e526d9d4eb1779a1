//! Peers that want to kill, bloat or stall us: each input by its name, against a real server and a real
//! caller over a unix socket.
//!
//! Whatever is sent, the victim lives on, on a thread with a stack of 2 MiB; it does not hang; it
//! allocates at most 32 MB; and an honest peer beside the attacker gets its answers within 100 ms, in any
//! build. What the machine is to blame for does not count: see [`clock`] and [`report`].

mod alloc;
mod both_ends;
mod clock;
mod floods;
mod fuzz;
mod messages;
mod on_client;
mod on_server;
mod peer;
mod quiet;
mod raw;
mod report;
mod unwinding;
mod victim;
