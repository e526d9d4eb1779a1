//! The program `bspan`: all that `caller` does, and `callee` as a command. In bash `caller` is a builtin.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    daemons::bspan::main()
}
