//! The core knows no protocol, and no protocol knows another one; files import from each other in no circle.
//! The graph is drawn from the sources, so that a new import in the wrong direction fails here.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const PROTOCOLS: [&str; 2] = ["postgres", "ssh"];

/// The files of the crate by their modules, and from which modules each imports.
struct Graph(BTreeMap<Module, BTreeSet<Module>>);

/// The path of a module below the crate: `["core", "session"]`.
type Module = Vec<String>;

#[test]
fn the_core_imports_from_no_protocol_and_no_protocol_from_another_one() {
    let graph = Graph::of_sources();
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
    let Graph(mut graph) = Graph::of_sources();
    let files = graph.len();
    assert!(files > 90, "only {files} files were read");
    // What imports nothing that is left is on no circle, and neither is what nothing that is left imports.
    while let Some(end) = graph.keys().find(|file| is_end(&graph, file)).cloned() {
        graph.remove(&end);
        for to in graph.values_mut() {
            to.remove(&end);
        }
    }
    let left: Vec<_> = graph.keys().map(|module| module.join("::")).collect();
    assert!(left.is_empty(), "these files are on a circle of imports, or between two: {left:?}");
}

fn is_end(graph: &BTreeMap<Module, BTreeSet<Module>>, file: &Module) -> bool {
    graph[file].is_empty() || graph.values().all(|to| !to.contains(file))
}

#[test]
fn imports_are_read_to_their_leaves_whatever_they_begin_with() {
    let files =
        ["core", "core::session", "core::session::guard", "core::plane", "ssh", "ssh::wire"];
    let files: BTreeSet<Module> = files.map(module).into();
    let read = |at: &str, text: &str| -> Vec<String> {
        imports(text, &module(at), &files).iter().map(|to| to.join("::")).collect()
    };
    let text = "use crate::{core::{plane::Plane, session as s}, ssh::wire::{self, Wire}};";
    assert_eq!(read("postgres", text), ["core::plane", "core::session", "ssh::wire"]);
    let text = "use guard::Guard;\nfn f() -> super::plane::Plane { self::guard::x() }";
    assert_eq!(read("core::session", text), ["core::plane", "core::session::guard"]);
    assert_eq!(read("core::session::guard", "use super::super::super::ssh::wire;"), ["ssh::wire"]);
    let text = "// crate::ssh::wire\npub(in crate::ssh) struct X;\n#[cfg(test)]\nmod tests { use crate::ssh; }";
    assert_eq!(read("core::plane", text), [""; 0]);
}

impl Graph {
    /// Tests, and what serves them alone, may import from everywhere.
    fn of_sources() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut texts = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                let Some(name) = name.strip_suffix(".rs") else { continue };
                let mut module: Module = name.split('/').map(str::to_owned).collect();
                module.pop_if(|last| last == "mod");
                let is_for_tests = |part: &String| ["tests", "testing", "fuzz"].contains(&&**part);
                if name != "lib" && !module.iter().any(is_for_tests) {
                    texts.insert(module, std::fs::read_to_string(&path).unwrap());
                }
            }
        }
        let files: BTreeSet<Module> = texts.keys().cloned().collect();
        let imports = |(module, text): (Module, String)| {
            let imports = imports(&text, &module, &files);
            (module, imports)
        };
        Self(texts.into_iter().map(imports).collect())
    }

    fn edges(&self) -> impl Iterator<Item = (&Module, &Module)> {
        self.0.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to)))
    }
}

fn module(path: &str) -> Module {
    path.split("::").map(str::to_owned).collect()
}

fn layer(module: &Module) -> &str {
    module.first().map_or("", String::as_str)
}

/// The files that this text names, which is the module's.
fn imports(text: &str, module: &Module, files: &BTreeSet<Module>) -> BTreeSet<Module> {
    let code = code(text);
    let mut imports = BTreeSet::new();
    for (at, _) in code.match_indices("::") {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let begins = code[..at].rfind(|c| !word(c)).map_or(0, |before| before + 1);
        if code[..begins].ends_with(':') || begins == at {
            continue;
        }
        let is_use = code[..begins].ends_with("use ");
        for path in leaves(&mut code[begins..].chars().peekable()) {
            imports.extend(resolve(&path, is_use, module, files));
        }
    }
    imports.remove(module);
    imports
}

/// Code without comments, inline tests and visibilities.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n").replace("pub(in crate::", "pub(in ")
}

/// The paths that begin here: one, or as many as a group has.
fn leaves(text: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Vec<Vec<String>> {
    while text.next_if(|c| c.is_whitespace()).is_some() {}
    if text.next_if_eq(&'{').is_some() {
        let mut all = Vec::new();
        loop {
            while text.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
            if text.next_if_eq(&'}').is_some() {
                return all;
            }
            let found = leaves(text);
            if found.is_empty() {
                return all;
            }
            all.extend(found);
            // `as` and a new name.
            while text.next_if(|c| *c != ',' && *c != '}').is_some() {}
        }
    }
    let mut word = String::new();
    while let Some(c) = text.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '*') {
        word.push(c);
    }
    if word.is_empty() {
        return Vec::new();
    }
    if text.next_if_eq(&':').is_none() || text.next_if_eq(&':').is_none() {
        return vec![vec![word]];
    }
    let rest = leaves(text);
    if rest.is_empty() {
        return vec![vec![word]];
    }
    rest.into_iter().map(|rest| [vec![word.clone()], rest].concat()).collect()
}

/// The file in which this path ends. A path without `crate`, `self` or `super` begins at a module of the file's
/// own only in an import.
fn resolve(
    path: &[String],
    is_use: bool,
    module: &Module,
    files: &BTreeSet<Module>,
) -> Option<Module> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let mut full = match path.first().map(String::as_str) {
        Some("crate") => path[1..].to_vec(),
        Some("self") => [module, &path[1..]].concat(),
        Some("super") => {
            let above = module.len().saturating_sub(supers);
            [&module[..above], &path[supers..]].concat()
        }
        _ if is_use => {
            let full = [module, path].concat();
            files.contains(&full[..=module.len()]).then_some(full)?
        }
        _ => return None,
    };
    while !full.is_empty() && !files.contains(&full) {
        full.pop();
    }
    Some(full).filter(|full| !full.is_empty())
}
