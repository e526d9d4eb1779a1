//! The fuzz targets on their corpus and on random changes of it, for a bounded time: what a fuzzer runs
//! for hours, run for a moment with every test.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::messages;
use crate::raw;
use crate::victim::thread;

#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// For each target.
const TIME: Duration = Duration::from_secs(2);

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

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(dir).expect("a corpus");
    files
        .map(|file| std::fs::read(file.expect("a file").path()).expect("a file"))
        .collect()
}

fn change(random: &mut fastrand::Rng, input: &mut Vec<u8>) {
    for _ in 0..=random.usize(..6) {
        if input.is_empty() {
            input.push(random.u8(..));
        }
        let at = random.usize(..input.len());
        match random.u8(..8) {
            0 => input[at] ^= 1 << random.u8(..8),
            1 => input[at] = random.u8(..),
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xff][random.usize(..5)],
            3 => input.truncate(at),
            4 => input.insert(at, random.u8(..)),
            5 => {
                // A whole word, as pointers are.
                let at = at / 8 * 8;
                if let Some(word) = input.get_mut(at..at + 8) {
                    let shift = random.u32(..64);
                    word.copy_from_slice(&(random.u64(..) >> shift).to_le_bytes());
                }
            }
            6 => {
                let end = (at + random.usize(1..32)).min(input.len());
                let part = input[at..end].to_vec();
                input.extend(part);
            }
            _ => drop(input.remove(at)),
        }
    }
    input.truncate(8192);
}

#[test]
fn the_corpus_and_what_is_like_it_harms_nothing() {
    for (name, target) in targets::ALL {
        let run = thread(name, move || {
            let committed = corpus(name);
            assert!(!committed.is_empty(), "{name} has a corpus");
            let inputs = [committed, seeds()].concat();
            inputs.iter().for_each(|input| target(input));
            let mut random = fastrand::Rng::with_seed(name.len() as u64);
            let (began, mut count) = (Instant::now(), 0);
            while began.elapsed() < TIME {
                let mut input = inputs[random.usize(..inputs.len())].clone();
                change(&mut random, &mut input);
                target(&input);
                count += 1;
            }
            println!("{name}: {count} inputs in {TIME:?}");
        });
        run.join().unwrap_or_else(|_| panic!("{name} panicked"));
    }
}
