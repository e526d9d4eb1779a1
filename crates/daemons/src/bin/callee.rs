//! The program `callee`: serves bindings over Cap'n Proto RPC.

fn main() -> std::process::ExitCode {
    daemons::callee::main()
}
