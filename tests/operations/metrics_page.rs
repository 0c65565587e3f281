//! `docs/reference/metrics.md` has every metric, with the help that the code gives it.

use std::fs;
use std::path::Path;

use super::deploy::METRICS;
use crate::support::pages;

const HEAD: &str = "\
# Metrics reference

Every series that `/metrics` may have. This page is made from the code: the test
`the_metrics_reference_says_what_the_code_says` compares them, and writes the page again with `UPDATE_DOCS=1`.
[Prometheus](../how-to/prometheus.md) says how to collect them.

A series with labels appears once it has counted something.

| metric | kind | meaning |
| --- | --- | --- |
";

#[test]
fn the_metrics_reference_says_what_the_code_says() {
    let mut code = String::new();
    for folder in ["proxy/src", "control/src"] {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut code);
    }
    let mut metrics = METRICS;
    metrics.sort_unstable();
    let rows = metrics.map(|(name, is_histogram)| {
        let kind = match is_histogram {
            true => "histogram",
            false if name.ends_with("_total") => "counter",
            false => "gauge",
        };
        format!("| `{name}` | {kind} | {} |\n", meaning(&code, name))
    });
    pages::is_current("metrics.md", &(HEAD.to_owned() + &rows.concat()));
}

/// The text that follows a metric's name.
fn meaning<'c>(code: &'c str, name: &str) -> &'c str {
    let (_, rest) = code.split_once(&format!("\"{name}\"")).expect("the metric's definition");
    rest.split('"').nth(1).expect("its help")
}

/// What stands in files of this name, in whatever folder.
fn read(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, code);
        } else if path.ends_with("metrics.rs") {
            code.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
