//! The programs' fuzz targets, for a bounded time.

use std::path::Path;

#[path = "../crates/js-rpc/fuzz/src/bounded.rs"]
mod bounded;
#[path = "../crates/daemons/fuzz/src/targets.rs"]
mod targets;

#[test]
fn the_corpus_and_what_is_like_it_harms_nothing() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::ALL {
        bounded::run(name, target, &corpus, &[]);
    }
}
