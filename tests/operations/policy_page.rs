//! `docs/reference/policy.md` has all that a rule can name: the schema's text and the table of annotations.

use policies::{ANNOTATIONS, SCHEMA};

use crate::support::pages;

const HEAD: &str = "\
# Policy reference

Everything that a rule can name. This page is made from the code: the test
`the_policy_reference_says_what_the_schema_says` compares them, and writes the page again with `UPDATE_DOCS=1`.
[Write rules](../how-to/rules.md) shows how they are used, and `postern policy check` finds what is misspelt.

A `permit` says who may have what. A `forbid` without obligations is absolute. A `forbid` with obligations stands aside once all of
them are met. What no rule permits is denied, and so is what a rule can't evaluate.
";

/// One thing that the schema declares.
struct Declared {
    /// `entity`, `action`, or `fact`.
    kind: &'static str,
    name: String,
    of_type: String,
    meaning: String,
}

#[test]
fn the_policy_reference_says_what_the_schema_says() {
    let declared = declared(SCHEMA);
    let mut page = HEAD.to_owned();
    for (title, kind, head, second) in [
        ("Actions", "action", "action", "applies to"),
        ("Types of principals and resources", "entity", "type", "lies in"),
        ("Facts", "fact", "`context.`", "of type"),
    ] {
        let of_kind: Vec<_> = declared.iter().filter(|declared| declared.kind == kind).collect();
        assert!(of_kind.len() > 1, "{title}");
        page += &format!("\n## {title}\n\n| {head} | {second} | meaning |\n| --- | --- | --- |\n");
        for Declared { name, of_type, meaning, .. } in of_kind {
            assert!(!meaning.is_empty(), "`{name}` has no comment in the schema");
            page += &format!("| `{name}` | {of_type} | {} |\n", cell(meaning));
        }
    }
    for (title, obliges) in
        [("Annotations of any rule", false), ("Obligations of a `forbid`", true)]
    {
        page += &format!("\n## {title}\n\n| annotation | meaning |\n| --- | --- |\n");
        for annotation in ANNOTATIONS.iter().filter(|annotation| annotation.obliges == obliges) {
            let (name, example) = (annotation.name, annotation.example);
            page += &format!("| `@{name}(\"{example}\")` | {} |\n", cell(annotation.meaning));
        }
    }
    pages::is_current("policy.md", &page);
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What a schema declares, with the comments in front of it.
fn declared(schema: &str) -> Vec<Declared> {
    let (mut found, mut comment, mut in_facts) = (Vec::new(), Vec::new(), false);
    for line in schema.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
            continue;
        }
        let meaning = std::mem::take(&mut comment).join(" ");
        let mut words = line.split([' ', ';', '{']).filter(|word| !word.is_empty());
        let (first, second) = (words.next(), words.next().unwrap_or_default());
        let add = |kind, name: &str, of_type: &str| {
            let (name, of_type) = (name.trim_matches('"').to_owned(), of_type.to_owned());
            Declared { kind, name, of_type, meaning: meaning.clone() }
        };
        match first {
            Some("entity") => {
                let parents = line.split_once(" in ").and_then(|(_, rest)| rest.split_once(']'));
                let parents = parents
                    .map_or_else(String::new, |(list, _)| list.trim_start_matches('[').to_owned());
                found.push(add("entity", second, &parents));
            }
            Some("action") => found.push(add("action", second, "Person, any resource")),
            Some("type") => in_facts = second == "Facts",
            Some("}") | Some("};") => in_facts = false,
            Some(name) if in_facts && line.ends_with(',') => {
                let of_type = line.split_once(':').unwrap().1.trim().trim_end_matches(',');
                let optional = if name.contains('?') { ", may be absent" } else { "" };
                let name = name.trim_end_matches([':', '?']);
                found.push(add("fact", name, &format!("`{of_type}`{optional}")));
            }
            Some(_) | None => {}
        }
    }
    found
}
