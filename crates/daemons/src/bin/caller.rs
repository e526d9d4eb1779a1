//! The program `caller`: calls bindings, passes calls on, and owns their spans.

fn main() -> std::process::ExitCode {
    daemons::caller::main()
}
