//! `compiled.bin` is what `capnp compile --no-standard-import -o- older.capnp` prints.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=compiled.bin");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let compiled = fs::File::open("compiled.bin").expect("compiled.bin is committed");
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(out_dir)
        .run(compiled)
        .expect("compiled.bin is what `capnp compile` printed");
}
