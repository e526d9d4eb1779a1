//! The program `callee`: serves bindings over Cap'n Proto RPC.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    daemons::callee::main()
}
