//! Control is built in layers: a file imports only from its own layer and from those below it. The graph is drawn
//! from the sources, so that an arrow upwards or a circle fails here.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "../../tests/tools/import_graph.rs"]
mod import_graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use import_graph::{Graph, layer};

/// From the lowest to the highest; `control` is the composition root.
const LAYERS: [&str; 13] = [
    "platform", "model", "store", "kernel", "policy", "identity", "access", "evidence", "notify",
    "sources", "gateway", "http", "control",
];

/// Where ARCHITECTURE.md shows the graph.
const MARKS: [&str; 2] = ["<!-- layers of control -->\n```text\n", "```\n<!-- end of layers -->"];

fn graph() -> Graph {
    Graph::of_sources(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn no_layer_imports_from_one_above_it() {
    let graph = graph();
    let height = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let files = graph.files().filter(|file| height(layer(file)).is_some()).count();
    assert!(files > 150, "only {files} files were read");
    let strays: Vec<_> = graph.files().filter(|file| height(layer(file)).is_none()).collect();
    assert!(strays.is_empty(), "these files are in no layer: {strays:?}");
    let upward: Vec<String> = graph
        .edges()
        .filter(|(from, to)| height(layer(to)) > height(layer(from)))
        .map(|(from, to)| format!("{} -> {}", from.join("::"), to.join("::")))
        .collect();
    assert!(upward.is_empty(), "imports from a layer above: {upward:#?}");
}

#[test]
fn no_files_import_from_each_other_in_a_circle() {
    let circles = graph().circles();
    assert!(circles.is_empty(), "circles of imports: {circles:#?}");
}

#[test]
fn architecture_shows_the_layers_and_their_arrows() {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in graph().edges() {
        let to = (layer(from) != layer(to)).then(|| layer(to).to_owned());
        arrows.entry(layer(from).to_owned()).or_default().extend(to);
    }
    let mut drawn = String::new();
    for layer in LAYERS {
        let below = arrows.get(layer).cloned().unwrap_or_default();
        let below: Vec<_> =
            LAYERS.iter().filter(|layer| below.contains(**layer)).copied().collect();
        writeln!(drawn, "{}", format!("{layer:<9} -> {}", below.join(" ")).trim_end()).unwrap();
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let [begin, end] = MARKS;
    let (before, rest) =
        text.split_once(begin).expect("ARCHITECTURE.md marks where the graph stands");
    let (shown, after) = rest.split_once(end).expect("ARCHITECTURE.md marks where the graph ends");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page, [before, begin, &drawn, end, after].concat()).unwrap();
    } else {
        assert_eq!(shown, drawn, "run this test with UPDATE_DOCS=1 to write it again");
    }
}
