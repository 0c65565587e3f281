//! The inputs in `tests/fuzz/seeds`, as tests of the crate whose parsers they are for.

use std::path::Path;

/// Hands each seed of a target to what it has to hold for.
pub(crate) fn each(target: &str, holds: impl Fn(&[u8])) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut folders = here.map(|folder| folder.join("tests/fuzz/seeds").join(target));
    let folder = folders.find(|folder| folder.is_dir()).expect("every target has seeds");
    let seeds = std::fs::read_dir(folder).unwrap().map(|seed| seed.unwrap().path());
    let seeds: Vec<_> = seeds.collect();
    assert!(!seeds.is_empty(), "{target} has no seed");
    for seed in seeds {
        let bytes = std::fs::read(&seed).unwrap();
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| holds(&bytes)));
        assert!(held.is_ok(), "{}", seed.display());
    }
}
