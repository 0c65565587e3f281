//! The core knows no protocol, and no protocol knows another one; files import from each other in no circle.
//! The graph is drawn from the sources, so that a new import in the wrong direction fails here.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

#[path = "../../tests/tools/import_graph.rs"]
mod import_graph;

use std::collections::BTreeSet;

use import_graph::{Graph, layer};

const PROTOCOLS: [&str; 2] = ["postgres", "ssh"];

#[test]
fn the_core_imports_from_no_protocol_and_no_protocol_from_another_one() {
    let graph = Graph::of_sources(env!("CARGO_MANIFEST_DIR"));
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (from, to) in graph.edges() {
        let [below, above] = [from, to].map(layer);
        seen.insert((below.to_owned(), above.to_owned()));
        let is_wrong = match below {
            "core" => above != "core",
            below if PROTOCOLS.contains(&below) => above != "core" && above != below,
            _ => false,
        };
        if is_wrong {
            wrong.push((from.join("::"), to.join("::")));
        }
    }
    assert!(wrong.is_empty(), "imports in the wrong direction: {wrong:?}");
    // The files were read: protocols know the core, and what starts them knows all.
    for protocol in PROTOCOLS {
        for (from, to) in [(protocol, "core"), ("proxy", protocol)] {
            let edge = (from.to_owned(), to.to_owned());
            assert!(seen.contains(&edge), "{from} imports nothing from {to}: {seen:?}");
        }
    }
}

#[test]
fn files_import_from_each_other_in_no_circle() {
    let graph = Graph::of_sources(env!("CARGO_MANIFEST_DIR"));
    let files = graph.files().count();
    assert!(files > 90, "only {files} files were read");
    assert_eq!(graph.circles(), Vec::<BTreeSet<String>>::new());
}
