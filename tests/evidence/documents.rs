//! What SECURITY.md claims is shown by tests that exist, and what ARCHITECTURE.md says of the hot path by
//! what is in it.
use std::path::Path;

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
    for folder in ["tests", "policies", "audit", "certs", "link", "proxy", "control", "src"] {
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
        sources.contains("self.leases.admit(knock)"),
        "the proxy admits by its table of leases"
    );
    for name in ["RuleBook", "cedar_policy", "Decision::"] {
        assert!(!sources.contains(name), "the way of a connection knows `{name}`");
    }
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
