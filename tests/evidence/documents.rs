//! The documents keep their promises: tests, files, links and commands that they name exist.
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_test_that_the_security_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, table) = page.split_once("## Attacks").expect("the table of attacks");
    // Other code stands in the table, too: a test's name has several words.
    let is_name = |text: &&str| {
        text.contains('_')
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    let named: Vec<&str> = table.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(named.len() > 40, "{} tests are named", named.len());
    let mut sources = String::new();
    let folders =
        ["tests", "policies", "audit", "certs", "link", "accept", "proxy", "control", "src"];
    for folder in folders {
        read(&root.join(folder), &mut sources);
    }
    let gone: Vec<_> =
        named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(gone.is_empty(), "no such tests: {gone:?}");
}

#[test]
fn what_lets_a_connection_in_holds_leases_and_no_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    read(&root.join("proxy/src"), &mut sources);
    read(&root.join("link/src"), &mut sources);
    for file in ["admit", "lease", "lock"] {
        let path = root.join(format!("policies/src/{file}.rs"));
        sources.push_str(&std::fs::read_to_string(path).unwrap());
    }
    assert!(
        sources.contains("self.leases.admit(query)"),
        "the proxy admits by its table of leases"
    );
    for name in ["RuleBook", "cedar_policy", "Decision::"] {
        assert!(!sources.contains(name), "the way of a connection knows `{name}`");
    }
}

/// Where the files of ARCHITECTURE.md are, beside the root: a table names files below one of these.
const FOLDERS: [&str; 6] =
    ["", "proxy/src", "proxy/src/core", "proxy/src/postgres", "proxy/src/ssh", "control/src"];

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let names: Vec<&str> = quoted
        .filter(|text| text.ends_with(".rs") || text.ends_with('/'))
        .filter(|text| !text.contains(' '))
        .collect();
    assert!(names.len() > 50, "{} files are named", names.len());
    let is_there = |name: &str| FOLDERS.iter().any(|folder| root.join(folder).join(name).exists());
    let gone: Vec<_> = names.into_iter().filter(|name| !is_there(name)).collect();
    assert!(gone.is_empty(), "no such files: {gone:?}");
    assert!(page.lines().count() <= 120, "the details belong into the module documentation");
}

fn read(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            read(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// README and everything below `docs/`, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut pages, mut folders) = (vec![root.join("README.md")], vec![root.join("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() > 15, "{pages:?}");
    pages.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The name of a heading in an address.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|it| it.is_alphanumeric() || *it == ' ' || *it == '-');
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut links = 0;
    for (page, text) in pages() {
        for (_, rest) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let (link, _) = rest.split_once(')').expect("the end of a link");
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", page.display());
            if !place.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|line| anchor(line.trim_start_matches('#')) == place);
                assert!(found, "{}: {link}", page.display());
            }
        }
    }
    assert!(links > 60, "{links} links");
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    assert!(readme.unwrap().lines().count() <= 150, "the rest belongs into docs/");
}

/// What a command's own help says; none where there is no such command.
fn help(words: &[&str]) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_postern");
    let output = Command::new(program).args(words).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_command_of_the_documents_is_one_with_its_options() {
    let mut commands = 0;
    for (page, text) in pages() {
        let indented = text.lines().filter_map(|line| line.strip_prefix("    "));
        let blocks = text.split("```sh").skip(1).filter_map(|part| part.split("\n```").next());
        let lines = indented.chain(blocks.flat_map(str::lines));
        for line in lines.filter_map(|line| line.trim_start().strip_prefix("postern ")) {
            let line = line.split(" #").next().unwrap();
            let mut words = line.split_whitespace();
            let first = words.next().expect("a command");
            let mut help_text =
                help(&[first]).unwrap_or_else(|| panic!("{}: {line}", page.display()));
            if let Some(second) = words.next()
                && help_text.contains(&format!("\n  {second}"))
            {
                help_text = help(&[first, second]).unwrap();
            }
            for option in line.split_whitespace().filter(|word| word.starts_with("--")) {
                assert!(help_text.contains(option), "{}: {line}: {option}", page.display());
            }
            commands += 1;
        }
    }
    assert!(commands > 50, "{commands} commands");
}

#[test]
fn every_make_target_of_the_documents_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut targets = 0;
    for page in ["README.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("    make ")) {
            let target = line.split_whitespace().next().expect("a target");
            let mut make = Command::new("make");
            let tried = make.args(["--dry-run", target]).current_dir(root).output().unwrap();
            assert!(tried.status.success(), "{page}: make {line}");
            targets += 1;
        }
    }
    assert!(targets >= 6, "{targets} targets");
}
