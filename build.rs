//! Compiled schema -> Rust. Reads the committed output of the Cap'n Proto compiler, so that building
//! needs no compiler; `schema/compile.sh --check` proves that the two agree.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=schema/compiled.bin");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let compiled = fs::File::open("schema/compiled.bin").expect("schema/compiled.bin is committed");
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(out_dir)
        .run(compiled)
        .expect("schema/compiled.bin is what `capnp compile` printed");
}
