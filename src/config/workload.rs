//! The workloads of a `postern.toml`: whose token stands for which program.

use std::collections::{BTreeMap, BTreeSet};

use control::{IssuerUrl, Pattern};
use policies::{GroupName, PrincipalId, Ttl};

use super::Person;
use super::read::{Field, Section, Value};

/// How long a certificate lasts where nobody says.
const TTL: Ttl = Ttl::from_secs(15 * 60);
/// How long one may last.
const SHORTEST: Ttl = Ttl::from_secs(60);
const LONGEST: Ttl = Ttl::from_secs(60 * 60);

/// A workload as it was written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// How people call it, its groups, and whether it is disabled.
    pub person: Person,
    /// Whose token stands for it.
    pub proof: control::Workload,
}

pub(super) fn workloads(
    section: Section<'_>,
    people: &BTreeMap<PrincipalId, Person>,
) -> BTreeMap<PrincipalId, Workload> {
    let sections = section.sections::<PrincipalId>("workloads").into_iter();
    let named = sections.filter_map(|(id, section)| {
        if let Some(why) = unfit(&id, people) {
            section.fault(why);
        }
        Some((id.clone(), workload(&id, section)?))
    });
    named.collect()
}

/// Why a workload can't be called so.
fn unfit(id: &PrincipalId, people: &BTreeMap<PrincipalId, Person>) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if people.contains_key(id) {
        Some(format!("`{id}` is a person already: give the workload a name of its own"))
    } else if !id.as_str().bytes().all(plain) || id.as_str().len() > 63 {
        Some("the name of a workload is at most 63 of a-z, 0-9 and -".to_owned())
    } else {
        None
    }
}

fn workload(id: &PrincipalId, mut section: Section<'_>) -> Option<Workload> {
    let person = Person {
        name: section.take_or("name", id.to_string()),
        groups: section
            .take_or("groups", Vec::<GroupName>::new())
            .into_iter()
            .collect::<BTreeSet<_>>(),
        admin: false,
        auditor: false,
        disabled: section.take_or("disabled", false),
        oidc: None,
        email: None,
        same_as: None,
        ssh_keys: Vec::new(),
    };
    let issuer = section.need("issuer", "issuer = \"https://token.actions.githubusercontent.com\"");
    let audience = section.need::<String>("audience", "audience = \"https://gate.example.com\"");
    let claims = claims(&mut section);
    let ttl = section.value("certificate_ttl").and_then(certificate_ttl).unwrap_or(TTL);
    section.finish();
    let proof = control::Workload {
        issuer: issuer?,
        audience: audience?,
        claims: claims?,
        certificate_ttl: ttl,
    };
    Some(Workload { person, proof })
}

/// What its tokens say; without, every token of the issuer would do.
fn claims(section: &mut Section<'_>) -> Option<BTreeMap<String, Pattern>> {
    let example = "claims = { sub = \"repo:example/shop:ref:refs/heads/main\" }";
    let table = section.section("claims");
    if table.is_empty() {
        section.missing("there are no claims, so that every token of the issuer would do", example);
        return None;
    }
    let named = table.named::<String>("claims");
    let wanted = named.len();
    let read =
        named.into_iter().filter_map(|(claim, _, _, value)| Some((claim, Pattern::read(value)?)));
    let claims: BTreeMap<_, _> = read.collect();
    (claims.len() == wanted).then_some(claims)
}

fn certificate_ttl(value: Value<'_>) -> Option<Ttl> {
    let ttl = Ttl::read(value)?;
    if (SHORTEST..=LONGEST).contains(&ttl) {
        return Some(ttl);
    }
    value.fault_with_remedy(
        format!("a workload's certificate lasts from {SHORTEST} to {LONGEST}"),
        format!("write `certificate_ttl = \"{TTL}\"`: a workload gets the next one by itself"),
    );
    None
}

impl Field for Pattern {
    fn kind() -> String {
        "text, or its beginning and `*`".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        let text = String::read(value)?;
        match text.parse() {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let message = format!("`{}` can't be used: {error}", text.escape_debug());
                value.fault_with_remedy(
                    message,
                    "write the whole value, or end it as in `repo:example/*`",
                );
                None
            }
        }
    }
}

impl Field for IssuerUrl {
    fn kind() -> String {
        "URL".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("the address of an issuer")
    }
}
