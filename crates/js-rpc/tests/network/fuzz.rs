//! The fuzz targets, for a bounded time.

use std::path::Path;

use crate::messages;
use crate::raw;
use crate::victim::thread;

#[path = "../../fuzz/src/bounded.rs"]
mod bounded;
#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// Inputs that every target begins with, besides the committed ones.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = raw::all().into_iter().map(|raw| raw.bytes).collect();
    seeds.retain(|seed| seed.len() < 4096);
    seeds.push(
        [
            messages::bootstrap(0),
            messages::session(1),
            messages::finish(1),
        ]
        .concat(),
    );
    seeds.push(b"CONNECT S HTTP/1.1\r\n\r\n".to_vec());
    seeds.push(vec![0xff, 0x0f, b'A', 2, b'I', 2, b'I', 4, b'$', 0, 2]);
    seeds
}

#[test]
fn the_corpus_and_what_is_like_it_harms_nothing() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::ALL {
        let corpus = corpus.clone();
        let run = thread(name, move || bounded::run(name, target, &corpus, &seeds()));
        run.join().unwrap_or_else(|_| panic!("{name} panicked"));
    }
}
