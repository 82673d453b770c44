//! The fuzz targets, over their corpus and a fixed number of mutations of it: the same bytes on every run.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::Path;

/// Mutations of each file of a corpus.
const MUTATIONS: u64 = 5_000;

/// Words that often break decoders.
const WORDS: [&str; 14] = [
    "\\ud83d",
    "\\u0000",
    "9223372036854775808",
    "-1",
    "1e999",
    "null",
    "[[[[",
    "}",
    "\"",
    "\u{202e}",
    "\u{1b}[",
    "\n",
    ":",
    "9999-12-31T23:59:60Z",
];

fn mutated(bytes: &[u8], other: &[u8], dice: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..dice.usize(1..=4) {
        let at = dice.usize(0..=bytes.len());
        let until = (at + dice.usize(0..8)).min(bytes.len());
        match dice.u8(0..6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..until)),
            2 => bytes.insert(at, dice.u8(..)),
            3 => drop(bytes.splice(at..until, dice.choice(WORDS).unwrap().bytes())),
            4 => {
                let from = dice.usize(0..=other.len());
                bytes.splice(at..until, other[from..].iter().copied().take(40));
            }
            _ => {
                let part = bytes[at..].to_vec();
                bytes.extend(part);
            }
        }
    }
    bytes
}

#[test]
fn every_target_holds_for_its_corpus_and_for_mutations_of_it() {
    for (name, target) in targets::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(name);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        assert!(corpus.len() >= 4, "{name} has a corpus");
        for (n, bytes) in corpus.iter().enumerate() {
            target(bytes);
            for seed in 0..MUTATIONS {
                let mut dice = fastrand::Rng::with_seed((n as u64) << 32 | seed);
                let other = &corpus[dice.usize(0..corpus.len())];
                let bytes = mutated(bytes, other, &mut dice);
                let held = std::panic::catch_unwind(|| target(&bytes));
                assert!(
                    held.is_ok(),
                    "{name}, {}, seed {seed}: {:?}",
                    files[n].display(),
                    String::from_utf8_lossy(&bytes)
                );
            }
        }
    }
}
