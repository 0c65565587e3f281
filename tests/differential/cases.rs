//! Reads the files of cases: `== NAME` begins one, and the lines up to the next are its script. A line
//! `~ TEXT` below the name says why the gateway is meant to differ.

use std::path::{Path, PathBuf};

/// One script.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// Why a client sees something else through the gateway, where it does.
    pub differs: Option<String>,
    pub script: String,
}

/// The folder of this test.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential")
}

/// The cases of a suite.
pub fn read(suite: &str) -> Vec<Case> {
    let path = folder().join("cases").join(format!("{suite}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let cases: Vec<Case> = text.split("\n== ").skip(1).map(parse).collect();
    assert!(!cases.is_empty(), "{path:?} has no case");
    cases
}

fn parse(text: &str) -> Case {
    let (name, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (differs, script) = match rest.strip_prefix("~ ").and_then(|rest| rest.split_once('\n')) {
        Some((why, script)) => (Some(why.to_owned()), script),
        None => (None, rest),
    };
    Case { name: name.to_owned(), differs, script: format!("{}\n", script.trim_end()) }
}
