//! The import graph of a crate, drawn from its sources.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The path of a module below the crate: `["core", "session"]`.
pub(crate) type Module = Vec<String>;

/// The files of a crate by their modules, and from which modules each imports.
pub(crate) struct Graph(BTreeMap<Module, BTreeSet<Module>>);

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
    let text =
        "#[cfg(test)]\nmod tests;\nuse crate::ssh::wire;\nfn f() { session::x(); wire::y() }";
    assert_eq!(read("core", text), ["core::session", "ssh::wire"]);
}

impl Graph {
    /// Tests, and what serves them alone, may import from everywhere.
    pub(crate) fn of_sources(crate_folder: &str) -> Self {
        let root = Path::new(crate_folder).join("src");
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

    pub(crate) fn edges(&self) -> impl Iterator<Item = (&Module, &Module)> {
        self.0.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to)))
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &Module> {
        self.0.keys()
    }

    /// Files that import from each other in a circle, in groups: each reaches each other one of its group.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<String>> {
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            self.0.keys().map(|from| (from, self.reached(from))).collect();
        let mut circles = BTreeSet::new();
        for from in self.0.keys() {
            let back = reached[from].iter().filter(|to| reached[**to].contains(from));
            let circle: BTreeSet<String> = back.map(|to| to.join("::")).collect();
            if !circle.is_empty() {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reached(&self, from: &Module) -> BTreeSet<&Module> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&Module> = self.0[from].iter().collect();
        while let Some(file) = next.pop() {
            if reached.insert(file) {
                next.extend(&self.0[file]);
            }
        }
        reached
    }
}

fn module(path: &str) -> Module {
    path.split("::").map(str::to_owned).collect()
}

pub(crate) fn layer(module: &Module) -> &str {
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
        for path in leaves(&mut code[begins..].chars().peekable()) {
            imports.extend(resolve(&path, module, files));
        }
    }
    imports.remove(module);
    imports
}

/// Code without comments, inline tests and visibilities.
fn code(text: &str) -> String {
    let tests = ["mod tests {", "pub(super) mod tests {"];
    let inline = tests.iter().filter_map(|begin| text.find(&format!("#[cfg(test)]\n{begin}")));
    let code = &text[..inline.min().unwrap_or(text.len())];
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
/// own, where there is one of that name.
fn resolve(path: &[String], module: &Module, files: &BTreeSet<Module>) -> Option<Module> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let mut full = match path.first().map(String::as_str) {
        Some("crate") => path[1..].to_vec(),
        Some("self") => [module, &path[1..]].concat(),
        Some("super") => {
            let above = module.len().saturating_sub(supers);
            [&module[..above], &path[supers..]].concat()
        }
        _ => {
            let full = [module, path].concat();
            files.contains(&full[..=module.len()]).then_some(full)?
        }
    };
    while !full.is_empty() && !files.contains(&full) {
        full.pop();
    }
    Some(full).filter(|full| !full.is_empty())
}
