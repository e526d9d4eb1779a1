//! The schema's compiled form -> Rust. Where every machine that builds has a `capnp` compiler you would
//! use `capnpc::CompilerCommand` instead, as the README shows.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=schema/inventory.bin");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let compiled = fs::File::open("schema/inventory.bin").expect("it is committed");
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(out_dir)
        // The id of binding_span.capnp: whoever has its generated code already.
        .crates_provide_map([(0xa75a_1a7e_409c_953c, "binding_span".into())].into()) // +
        .run(compiled)
        .expect("schema/compile.sh wrote it");
}
