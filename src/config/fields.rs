//! The kinds of values that a `postern.toml` holds, each parsed once.

use std::net::SocketAddr;
use std::path::PathBuf;

use policies::{Amount, Database, Environment, GroupName, PrincipalId, Size, StreamBound, Ttl};
use toml::de::DeValue;
use url::Url;

use super::nearest::nearest;
use super::read::{Field, Located, Shown, Value};

impl Field for bool {
    fn kind() -> String {
        "`true` or `false`".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        let flag = value.raw().as_bool();
        if flag.is_none() {
            value.unfit("`true` or `false`");
        }
        flag
    }
}

impl Field for String {
    fn kind() -> String {
        "text".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        let text = value.text("a text")?;
        if text.is_empty() || text.chars().any(char::is_control) {
            value.fault("a text that is neither empty nor of several lines is wanted");
            return None;
        }
        Some(text.to_owned())
    }
}

impl<T: Field> Field for Located<T> {
    fn kind() -> String {
        T::kind()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        T::read(value).map(|read| Located { value: read, site: value.site() })
    }
}

impl<T: Field> Field for Vec<T> {
    fn kind() -> String {
        format!("list: {}", T::kind())
    }

    fn read(value: Value<'_>) -> Option<Self> {
        Some(value.items("a list in [ ]").filter_map(T::read).collect())
    }
}

impl Field for Ttl {
    fn kind() -> String {
        "duration".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("a duration such as `15m`")
    }
}

impl Field for Size {
    fn kind() -> String {
        "size".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("a size such as `64MiB`")
    }
}

impl Field for Amount {
    fn kind() -> String {
        "size or share".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("a size such as `2GiB` or a share such as `5%`")
    }
}

impl Field for StreamBound {
    fn kind() -> String {
        "size".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("a size such as `1MiB`")
    }
}

impl Field for PrincipalId {
    fn kind() -> String {
        "key of a person".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("the key of a person")
    }
}

impl Field for GroupName {
    fn kind() -> String {
        "name of a group".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("the name of a group")
    }
}

impl Field for control::Email {
    fn kind() -> String {
        "e-mail address".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("an e-mail address")
    }
}

impl Field for Database {
    fn kind() -> String {
        "name of a database".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("the name of a database")
    }
}

impl Field for Environment {
    fn kind() -> String {
        "name of an environment".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        value.parse("the name of an environment")
    }
}

impl Field for PathBuf {
    fn kind() -> String {
        "path".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        String::read(value).map(Self::from)
    }
}

impl Field for SocketAddr {
    fn kind() -> String {
        "address and port".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        let text = value.text("an address such as `127.0.0.1:5432`")?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let message = format!(
                "`{}` is not an IP address and a port",
                text.chars().take(80).collect::<String>().escape_debug()
            );
            value.fault_with_remedy(message, address_advice(text));
        }
        parsed
    }
}

fn address_advice(text: &str) -> String {
    let port = text.rsplit(':').next().unwrap_or_default();
    match port.parse::<u16>() {
        Ok(port) => {
            format!("write `127.0.0.1:{port}`, `0.0.0.0:{port}`, `[::]:{port}` or one address")
        }
        Err(_) => "write it as `127.0.0.1:5432` or `[::1]:5432`".into(),
    }
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}

impl Shown for String {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Shown for Ttl {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Shown for Size {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Shown for Amount {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Shown for StreamBound {
    fn shown(&self) -> String {
        quoted(Size::from_bytes(self.bytes()))
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> String {
        quoted(self.display())
    }
}

/// Lists are empty where nobody writes them.
impl<T> Shown for Vec<T> {
    fn shown(&self) -> String {
        "[]".into()
    }
}

/// Host and port of a target: `db.internal:5432`, `10.0.0.7`, `[2001:db8::7]:5432`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Field for Endpoint {
    fn kind() -> String {
        "host and port".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        let text = value.text("an address such as `db.internal:5432`")?;
        let endpoint = Self::parse(text);
        if endpoint.is_none() {
            let message = format!("`{}` is not a host and a port", text.escape_debug());
            let remedy = "write it as `db.internal:5432`, `10.0.0.7:5432` or `[2001:db8::7]:5432`";
            value.fault_with_remedy(message, remedy);
        }
        endpoint
    }
}

impl Endpoint {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                let port = match tail {
                    "" => None,
                    tail => Some(tail.strip_prefix(':')?),
                };
                (host, port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
            None => None,
        };
        let fits = text.starts_with('[') || is_host(host);
        fits.then(|| Self { host: host.to_owned(), port })
    }
}

/// Whether a text can be looked up: letters, digits, `-`, `_` and dots between them.
fn is_host(text: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(byte);
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// The gateway's own name, which targets' names stand in front of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GatewayHost(pub(super) String);

impl Field for GatewayHost {
    fn kind() -> String {
        "host name".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        let text = value.text("a host name")?;
        let lower = text.to_ascii_lowercase();
        // A label and a dot of a target come before it.
        let fits = is_host(text) && text.len() <= 253 - 64 && !text.ends_with('.');
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        if fits && !is_address && lower == text {
            return Some(Self(lower));
        }
        let message = format!("`{}` is not the gateway's host name", text.escape_debug());
        let remedy = "write a DNS name in lower case such as `gate.example.com`: targets get names \
                      below it";
        value.fault_with_remedy(message, remedy);
        None
    }
}

impl Field for Url {
    fn kind() -> String {
        "URL".into()
    }

    fn read(value: Value<'_>) -> Option<Self> {
        let text = value.text("an address such as `https://gate.example.com`")?;
        let problem = match Url::parse(text) {
            Ok(url) => match url_problem(&url) {
                None => return Some(url),
                Some(problem) => problem.to_owned(),
            },
            Err(error) => error.to_string(),
        };
        let message = format!("`{}` can't be used: {problem}", text.escape_debug());
        value.fault_with_remedy(message, "write it as `https://gate.example.com`");
        None
    }
}

/// Sign-in codes and cookies travel there: encrypted, and to the root of one host.
fn url_problem(url: &Url) -> Option<&'static str> {
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Some("it names no host"),
    };
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !url.username().is_empty() || url.password().is_some() {
        Some("it holds a name or a password")
    } else if !bare {
        Some("nothing may follow the host and port")
    } else {
        match url.scheme() {
            "https" => None,
            "http" if local => None,
            "http" => Some("`http` would show sign-ins to the network: `https` is wanted"),
            _ => Some("`https` is wanted"),
        }
    }
}

/// Any text, also an empty one, as the value of a label.
pub(super) fn label(value: Value<'_>) -> Option<String> {
    match value.raw() {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => {
            value.unfit("a text in quotes");
            None
        }
    }
}

/// One of a few words, or a table that says more.
pub(super) enum WordOrTable<'d> {
    Word(&'d str),
    Table(super::read::Section<'d>),
}

/// Reads `"word"` or `{ … }`. Where it is neither, the fault is put down.
pub(super) fn word_or_table<'d>(value: Value<'d>, path: String) -> Option<WordOrTable<'d>> {
    if value.raw().is_table() {
        return value.section(path).map(WordOrTable::Table);
    }
    value.text("a word in quotes, or a table in { },").map(WordOrTable::Word)
}

/// Faults a word that is none of those known.
pub(super) fn unknown_word(value: Value<'_>, word: &str, known: &[&'static str]) {
    let listed = known.join("`, `");
    let message = format!("`{}` is none of `{listed}`", word.escape_debug());
    let mended = match nearest(word, known.iter().copied()) {
        Some(known) => format!("did you mean `{known}`?"),
        None => match word {
            "require" | "prefer" | "allow" => {
                "write `insecure-no-verify` if nothing is to be verified, or better \
                 `verify-full`"
                    .into()
            }
            "disable" => "write `off`".into(),
            _ => format!("write one of `{listed}`"),
        },
    };
    value.fault_with_remedy(message, mended);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_names_or_addresses_of_both_kinds() {
        for (text, host, port) in [
            ("db.internal:5432", "db.internal", Some(5432)),
            ("db_1", "db_1", None),
            ("10.0.0.7:6432", "10.0.0.7", Some(6432)),
            ("[2001:db8::7]:5432", "2001:db8::7", Some(5432)),
            ("[::1]", "::1", None),
        ] {
            let host = host.to_owned();
            assert_eq!(Endpoint::parse(text), Some(Endpoint { host, port }), "{text}");
        }
        for text in [
            "",
            ":5432",
            "db:",
            "db:0",
            "db:70000",
            "::1",
            "[::1",
            "[::1]5432",
            "[db]:1",
            "a b:1",
            "a..b:1",
            "db:5432:1",
            "postgres://db",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_public_address_is_encrypted_and_bare() {
        for (text, fits) in [
            ("https://gate.example.com", true),
            ("https://gate.example.com:7443/", true),
            ("http://localhost:7080", true),
            ("http://127.0.0.1:7080", true),
            ("http://[::1]:7080", true),
            ("http://gate.example.com", false),
            ("https://gate.example.com/postern", false),
            ("https://alice@gate.example.com", false),
            ("https://gate.example.com/?a", false),
            ("ftp://gate.example.com", false),
        ] {
            assert_eq!(url_problem(&text.parse().unwrap()).is_none(), fits, "{text}");
        }
    }
}
