//! The issuers of a `postern.toml`, whom people sign in with, and who of the people is known there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use control::IssuerUrl;
use policies::{GroupName, IssuerName, PrincipalId, Ttl};

use super::Person;
use super::fault::Fault;
use super::read::{Document, Field, Located, Section, Value, path};

const SCOPES: [&str; 2] = ["profile", "offline_access"];
/// What clients ask for where nobody says.
const SCOPE: &str = "openid";
const REFRESH: Ttl = Ttl::from_secs(5 * 60);
const GRACE: Ttl = Ttl::from_secs(60 * 60);

/// An issuer as it was written down: its secret is still to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// Its address, as it calls itself.
    pub url: Located<IssuerUrl>,
    /// The gateway's name there.
    pub client_id: String,
    /// Where the gateway's secret there is; none for a public client.
    pub client_secret: Option<ClientSecret>,
    /// The certificates of its own authority, which alone is trusted then.
    pub ca: Option<Located<PathBuf>>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The claim that names groups.
    pub groups_claim: String,
    /// Its groups and what they are called here; without it, the same.
    pub groups: Option<BTreeMap<String, GroupName>>,
    /// Groups whose people may lock, revoke and invite.
    pub admins: BTreeSet<GroupName>,
    /// Groups whose people may see everybody's sessions and the audit log.
    pub auditors: BTreeSet<GroupName>,
    /// Whether groups are asked at the userinfo endpoint.
    pub userinfo: bool,
    /// How often it is asked about people again.
    pub refresh: Ttl,
    /// How much longer its word holds while it can't be asked.
    pub refresh_grace: Ttl,
    /// Which of its access tokens are taken from clients; without, none.
    pub bearer: Option<Bearer>,
}

/// Which access tokens of an issuer are taken from clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Whom they are for: this gateway.
    pub audience: String,
    /// What clients ask the issuer for, with spaces between the scopes.
    pub scope: String,
}

/// Where the gateway's secret at an issuer is.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientSecret {
    /// A file that holds it.
    File(Located<PathBuf>),
    /// An environment variable that holds it.
    Variable(Located<String>),
}

/// Who somebody of the configuration is at an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The issuer.
    pub issuer: IssuerName,
    /// Its name of them, for ever.
    pub subject: String,
}

impl Field for IssuerName {
    fn kind() -> String {
        "name of an issuer".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("the name of an issuer")
    }
}

/// Reads `[issuers]`. Of several, each has to say what its groups are called here, so that none
/// can speak of another's.
pub(super) fn issuers(section: Section<'_>, base: &Path) -> BTreeMap<IssuerName, Issuer> {
    let sections = section.sections::<IssuerName>("issuers");
    let alone = sections.len() < 2;
    let read = sections.into_iter().filter_map(|(name, section)| {
        if !alone && !section.has("groups") {
            let example = "groups = { \"name-there\" = \"name-here\" }";
            section.missing("there are several issuers, so that `groups` is wanted", example);
        }
        Some((name, issuer(section, base)?))
    });
    read.collect()
}

fn issuer(mut section: Section<'_>, base: &Path) -> Option<Issuer> {
    let url = section.need("url", "url = \"https://login.example.com\"");
    let client_id: Option<String> = section.need("client_id", "client_id = \"postern\"");
    let client_secret = client_secret(&mut section, base);
    let ca = section.path("ca", base);
    let bearer = bearer(&mut section, client_id.as_deref());
    let groups = section.has("groups").then(|| named(section.section("groups")));
    let default_scopes = || SCOPES.map(str::to_owned).to_vec();
    let issuer = (
        section.take::<Vec<String>>("scopes").unwrap_or_else(default_scopes),
        section.take_or("groups_claim", "groups".to_owned()),
        section.take_or("admins", Vec::new()).into_iter().collect(),
        section.take_or("auditors", Vec::new()).into_iter().collect(),
        section.take_or("userinfo", false),
        section.take_or("refresh", REFRESH),
        section.take_or("refresh_grace", GRACE),
    );
    section.finish();
    let (scopes, groups_claim, admins, auditors, userinfo, refresh, refresh_grace) = issuer;
    Some(Issuer {
        url: url?,
        client_id: client_id?,
        client_secret,
        ca,
        scopes,
        groups_claim,
        groups,
        admins,
        auditors,
        userinfo,
        refresh,
        refresh_grace,
        bearer,
    })
}

/// Access tokens for the gateway. They are for a name that no client of the issuer has, since whatever
/// is made for a client, such as its id tokens, has the client's own.
fn bearer(section: &mut Section<'_>, client_id: Option<&str>) -> Option<Bearer> {
    let (audience, scope) = (section.value("bearer_audience"), section.value("bearer_scope"));
    let Some(named) = audience else {
        if let Some(scope) = scope {
            scope.fault_with_remedy(
                "`bearer_scope` counts for nothing without `bearer_audience`",
                "write that too, or remove this",
            );
        }
        return None;
    };
    let audience = String::read(named)?;
    if client_id == Some(audience.as_str()) {
        named.fault_with_remedy(
            "`bearer_audience` is the `client_id`, so that id tokens would pass for access tokens",
            "give the gateway a name of its own as a resource at the issuer, such as \
             `bearer_audience = \"https://gate.example.com\"`",
        );
        return None;
    }
    let scope = scope.map_or_else(|| Some(SCOPE.to_owned()), String::read)?;
    Some(Bearer { audience, scope })
}

fn client_secret(section: &mut Section<'_>, base: &Path) -> Option<ClientSecret> {
    let (file, variable) =
        (section.value("client_secret_file"), section.value("client_secret_env"));
    if let (Some(_), Some(second)) = (file, variable) {
        second.fault_with_remedy(
            "the secret is given twice",
            "remove `client_secret_env` or `client_secret_file`",
        );
    }
    let file = file.and_then(|value| path(value, base)).map(ClientSecret::File);
    file.or_else(|| variable.and_then(Located::read).map(ClientSecret::Variable))
}

fn named(section: Section<'_>) -> BTreeMap<String, GroupName> {
    let named = section.named::<String>("groups").into_iter();
    named.filter_map(|(name, _, _, value)| Some((name, GroupName::read(value)?))).collect()
}

/// Reads a person's `oidc = { issuer = "corp", subject = "…" }`.
pub(super) fn account(section: &mut Section<'_>) -> Option<Located<Account>> {
    let value = section.value("oidc")?;
    let mut table = value.section(section.path_of("oidc"))?;
    let issuer = table.need("issuer", "issuer = \"corp\"");
    let subject = table.need("subject", "subject = \"00u1abcd\"");
    table.finish();
    let account = Account { issuer: issuer?, subject: subject? };
    Some(Located { value: account, site: value.site() })
}

/// Faults what people and issuers can only get wrong together.
pub(super) fn check(
    people: &BTreeMap<PrincipalId, Located<Person>>,
    issuers: &BTreeMap<IssuerName, Issuer>,
    document: &Document<'_>,
) {
    once_each(issuers, document);
    let mut taken: BTreeSet<(&IssuerName, &str)> = BTreeSet::new();
    for (id, person) in people {
        let before = id.as_str().split_once(':').map(|(before, _)| before);
        if before.is_some_and(|name| issuers.keys().any(|issuer| issuer.as_str() == name)) {
            let message = format!("`{id}` is how the issuer's people are called");
            let remedy = "give the person a key without the issuer's name, and name their `oidc`";
            document.put(Fault::new(person.site.clone(), message).with_remedy(remedy));
        }
        let Some(account) = &person.value.oidc else { continue };
        if !issuers.contains_key(&account.value.issuer) {
            let message = format!("there is no [issuers.{}]", account.value.issuer);
            let remedy = "name one of `[issuers]`, or add it";
            document.put(Fault::new(account.site.clone(), message).with_remedy(remedy));
        }
        if !taken.insert((&account.value.issuer, &account.value.subject)) {
            let message = "another person is this subject already";
            let remedy = "one account is one person: remove one of the two";
            document.put(Fault::new(account.site.clone(), message).with_remedy(remedy));
        }
    }
}

/// Faults an address that has two names here: one subject of it would be two people.
fn once_each(issuers: &BTreeMap<IssuerName, Issuer>, document: &Document<'_>) {
    let mut seen: BTreeMap<&IssuerUrl, &IssuerName> = BTreeMap::new();
    for (name, issuer) in issuers {
        if let Some(other) = seen.insert(&issuer.url.value, name) {
            let message = format!("[issuers.{other}] has this address already");
            let remedy = "one issuer has one name here: remove one of the two sections";
            document.put(Fault::new(issuer.url.site.clone(), message).with_remedy(remedy));
        }
    }
}
