//! Control is built in layers: a file imports only from its own layer and from those below it. The graph is
//! drawn from the sources, so that a new arrow upwards fails here, and so does a known one that is gone.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// From the lowest to the highest. What stands beside them in `lib.rs` composes all of them.
const LAYERS: [&str; 12] = [
    "platform", "model", "store", "kernel", "policy", "identity", "access", "evidence", "notify",
    "sources", "gateway", "http",
];

/// Arrows that still lead upwards, from a file to a layer, each with the step that removes it.
const KNOWN: [(&str, &str, &str); 0] = [];

#[test]
fn no_layer_imports_from_one_above_it() {
    let known: BTreeSet<_> = KNOWN.iter().map(|(file, layer, _)| (*file, *layer)).collect();
    let arrows = arrows();
    let upward: BTreeSet<_> = arrows
        .iter()
        .flat_map(|(file, layers)| layers.iter().map(move |layer| (file.as_str(), layer.as_str())))
        .filter(|(file, layer)| height(layer) > height(layer_of(file)))
        .collect();
    let new: Vec<_> = upward.difference(&known).collect();
    assert!(new.is_empty(), "these files import from a layer above theirs: {new:?}");
    let gone: Vec<_> = known.difference(&upward).collect();
    assert!(gone.is_empty(), "these arrows are gone, so take them out of `KNOWN`: {gone:?}");
}

#[test]
fn every_file_has_a_layer() {
    let strays: Vec<_> =
        arrows().into_keys().filter(|file| height(layer_of(file)).is_none()).collect();
    assert_eq!(strays, Vec::<String>::new(), "these files stand in no layer");
}

#[test]
fn groups_in_imports_are_read_to_their_leaves() {
    let text =
        "use crate::{model::{actor::Actor, view}, store as db};\nfn f() { crate::kernel::x() }";
    let found: Vec<_> = layers_in(text).into_iter().collect();
    assert_eq!(found, ["kernel", "model", "store"]);
}

/// The layers that each file names, by its path below `src`.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut arrows = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !is_beside(&name) {
                arrows.insert(name, layers_in(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(arrows.len() > 100, "only {} files were read", arrows.len());
    arrows
}

/// Tests see everything, and `lib.rs` exports from everywhere.
fn is_beside(file: &str) -> bool {
    let parts: Vec<_> = file.split('/').collect();
    parts.iter().any(|part| matches!(*part, "tests" | "tests.rs" | "fuzz.rs" | "lib.rs"))
}

fn layer_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

fn height(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|one| *one == layer)
}

/// What follows each `crate::` in code, comments and inline tests left out.
fn layers_in(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(line));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut layers = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let inside = code[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric());
        if !inside {
            layers.extend(heads(&code[at + "crate::".len()..]));
        }
    }
    layers
}

/// The first segments of a path, or of each path in a group.
fn heads(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut depth, mut heads, mut begins) = (0_usize, Vec::new(), true);
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !sign.is_whitespace() => {
                heads.push(word(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    heads
}
