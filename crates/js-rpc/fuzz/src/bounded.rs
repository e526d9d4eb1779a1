//! Fuzz targets on their corpus and on random changes of it, for a bounded time: what a fuzzer runs for
//! hours, run for a moment with every test. No fuzzer is needed.

use std::path::Path;
use std::time::{Duration, Instant};

/// For each target.
const TIME: Duration = Duration::from_secs(2);
/// What one input may take at most, on a machine that has other things to do as well.
const SLOW: Duration = Duration::from_secs(10);

/// Runs a target on the files in `corpus`, on `seeds`, and on what is like them.
pub fn run(name: &str, target: fn(&[u8]), corpus: &Path, seeds: &[Vec<u8>]) {
    let files = std::fs::read_dir(corpus.join(name)).expect("a corpus");
    let mut inputs: Vec<Vec<u8>> = files
        .map(|file| std::fs::read(file.expect("a file").path()).expect("a file"))
        .collect();
    assert!(!inputs.is_empty(), "{name} has a corpus");
    inputs.extend_from_slice(seeds);
    let mut longest = Duration::ZERO;
    let mut timed = |input: &[u8]| {
        let began = Instant::now();
        target(input);
        longest = longest.max(began.elapsed());
    };
    inputs.iter().for_each(|input| timed(input));
    let mut random = fastrand::Rng::with_seed(name.len() as u64);
    let (began, mut count) = (Instant::now(), inputs.len());
    while began.elapsed() < TIME {
        let mut input = inputs[random.usize(..inputs.len())].clone();
        change(&mut random, &mut input);
        timed(&input);
        count += 1;
    }
    println!("{name}: {count} inputs in {TIME:?}, at most {longest:?} for one");
    assert!(longest < SLOW, "{name}: one input took {longest:?}");
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
