//! The program `caller`: calls bindings, passes calls on, and owns their spans.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    daemons::caller::main()
}
