//! The start-up packet: read strictly, once, into what the rest of the plane works with.
//!
//! A parameter that comes twice, lacks its value or its terminator, or isn't UTF-8 has no clear
//! reading, and is refused. What a client may set is an allow-list: what ordinary drivers send passes
//! on to the target; what would change identity (`role`, `session_authorization`) does not.

use std::collections::BTreeMap;
use std::str::FromStr;

use policies::{Database, Login, NameError, Resource, Target, TargetName, Ticket, Ttl};
use thiserror::Error;

use super::wire::{Fatal, cstring};

/// The longest start-up packet, as in Postgres (`MAX_STARTUP_PACKET_LENGTH`).
pub(super) const LONGEST: usize = 10_000;
/// The newest minor version of protocol 3 that is spoken here.
pub(super) const MINOR: u16 = 2;

/// Settings that pass on to the target. A login may set them by `SET` anyway.
const PASSING: [&str; 33] = [
    "application_name",
    "array_nulls",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_statistics_target",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "enable_hashjoin",
    "enable_indexscan",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_seqscan",
    "extra_float_digits",
    "geqo",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "plan_cache_mode",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronous_commit",
    "timezone",
    "work_mem",
];

/// Why a start-up packet is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum StartupError {
    /// The bytes have no clear reading.
    #[error("malformed start-up packet: {0}")]
    Malformed(String),
    /// Not version 3.
    #[error("protocol version {0}.{1} is not spoken here")]
    Version(u16, u16),
    /// No user.
    #[error("no user name was given")]
    NoUser,
    /// A setting that can't be made here.
    #[error("parameter {0:?} can't be set through the gateway")]
    Parameter(String),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A value of one of our own options makes no sense.
    #[error("option postern.{name}: {why}")]
    Option {
        /// Without the prefix.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Replication is a separate permission.
    #[error("replication connections are not allowed on this target")]
    Replication,
}

impl From<&StartupError> for Fatal {
    fn from(error: &StartupError) -> Self {
        let (sqlstate, hint) = match error {
            StartupError::Malformed(_) => ("08P01", ""),
            StartupError::Version(..) => ("0A000", "Use a client that speaks protocol version 3."),
            StartupError::NoUser => ("28000", "Give the target's login as user."),
            StartupError::Parameter(_) => {
                ("22023", "Leave it out, or set it after connecting where the login may.")
            }
            StartupError::Name(_) => ("28000", "Use a login and a database of the target."),
            StartupError::Option { .. } => (
                "22023",
                "Known are postern.target, postern.hold, postern.for, postern.reason, \
                 postern.ticket and postern.auth.",
            ),
            StartupError::Replication => ("0A000", "Ask for the target's `replication` setting."),
        };
        Self::new(sqlstate, error.to_string()).hint(hint)
    }
}

/// What a client wants, as it sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Startup {
    /// The minor version that it speaks, perhaps beyond ours.
    pub(super) minor: u16,
    /// Extensions (`_pq_.`) that it asks for; none is known here.
    pub(super) extensions: Vec<String>,
    pub(super) login: Login,
    /// As given; an absent one means the login's name, as in Postgres.
    pub(super) database: Option<String>,
    pub(super) application: String,
    /// What passes on to the target.
    pub(super) settings: BTreeMap<String, String>,
    pub(super) options: Options,
    pub(super) replication: Option<String>,
}

/// Our own options, from `-c postern.…` in the start-up options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The target.
    pub(super) target: Option<TargetName>,
    /// How long to wait for people.
    pub(super) hold: Option<Ttl>,
    /// How long the grant is wanted for.
    pub(super) ttl: Option<Ttl>,
    pub(super) reason: String,
    /// The ticket that it is for.
    pub(super) ticket: Option<Ticket>,
    /// How the client wants to identify itself, where it has no certificate.
    pub(super) auth: Option<Auth>,
}

/// How a client without a certificate identifies itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    /// By a token of ours in the password field.
    Token,
    /// By an access token of an issuer (`OAUTHBEARER`).
    Oauth,
    /// By a person who confirms in a browser, where the target keeps connections waiting.
    Confirm,
}

impl FromStr for Auth {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "token" => Ok(Self::Token),
            "oauth" => Ok(Self::Oauth),
            "confirm" => Ok(Self::Confirm),
            _ => Err("one of `token`, `oauth` and `confirm` is wanted"),
        }
    }
}

impl Startup {
    /// Reads the packet that follows its length word: version, then parameters.
    pub(super) fn parse(packet: &[u8]) -> Result<Self, StartupError> {
        let malformed = |why: &str| StartupError::Malformed(why.to_owned());
        let (version, rest) =
            packet.split_first_chunk::<4>().ok_or_else(|| malformed("too short"))?;
        let [a, b, c, d] = *version;
        let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if major != 3 {
            return Err(StartupError::Version(major, minor));
        }
        let mut draft = Draft::default();
        for (key, value) in pairs(rest)? {
            draft.take(key, value)?;
        }
        draft.finish(minor)
    }

    /// Whether this client says that a person types into it.
    pub(super) fn is_interactive(&self) -> bool {
        matches!(self.application.as_str(), "psql" | "pgcli") || self.options.hold.is_some()
    }

    /// The target that is meant: by TLS server name, by option, or by database name; in this order.
    pub(super) fn target_name(
        &self,
        server_name: Option<TargetName>,
    ) -> Result<TargetName, StartupError> {
        let named = server_name.or_else(|| self.options.target.clone());
        let database = self.database.as_deref().unwrap_or(self.login.as_str());
        let first = database.split_once('/').map_or(database, |(target, _)| target);
        named.map_or_else(|| Ok(TargetName::new(first)?), Ok)
    }

    /// What is asked for, checked to the byte against what the target has.
    pub(super) fn resource(&self, target: &Target) -> Result<Resource, Fatal> {
        let database = self
            .wanted_database(target)
            .map_err(|error| Fatal::from(&StartupError::Name(error)))?;
        target.resolve(&self.login, database.as_ref()).map_err(|error| {
            Fatal::new("28000", error.to_string()).hint("`postern ls` lists what you can ask for.")
        })
    }

    /// `orders` and the absent name mean the default database; `orders/reporting` and, where the
    /// target was chosen otherwise, `reporting` mean another.
    fn wanted_database(&self, target: &Target) -> Result<Option<Database>, NameError> {
        let Some(text) = self.database.as_deref() else {
            return Ok(None);
        };
        let prefix = text.split_once('/').filter(|(name, _)| *name == target.name.as_str());
        if let Some((_, database)) = prefix {
            return Database::new(database).map(Some);
        }
        let database = Database::new(text)?;
        let offered = target.databases.contains(&database);
        // libpq fills in the user's name where no database was given.
        let implied = text == target.name.as_str() || text == self.login.as_str();
        Ok(if implied && !offered { None } else { Some(database) })
    }
}

/// Key and value pairs up to the empty key that ends the packet.
fn pairs(mut rest: &[u8]) -> Result<Vec<(&str, &str)>, StartupError> {
    let malformed = |why: &str| StartupError::Malformed(why.to_owned());
    let utf8 =
        |bytes| std::str::from_utf8(bytes).map_err(|_| malformed("a name or value is not UTF-8"));
    let mut pairs = Vec::new();
    loop {
        let (key, tail) = cstring(rest).ok_or_else(|| malformed("the terminator is missing"))?;
        if key.is_empty() {
            return if tail.is_empty() {
                Ok(pairs)
            } else {
                Err(malformed("bytes follow the end"))
            };
        }
        let (value, tail) = cstring(tail).ok_or_else(|| malformed("a parameter has no value"))?;
        pairs.push((utf8(key)?, utf8(value)?));
        rest = tail;
    }
}

#[derive(Default)]
struct Draft {
    given: BTreeMap<String, String>,
    extensions: Vec<String>,
    settings: BTreeMap<String, String>,
    options: Options,
}

impl Draft {
    fn take(&mut self, key: &str, value: &str) -> Result<(), StartupError> {
        if self.given.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(StartupError::Malformed(format!("parameter {key:?} is given twice")));
        }
        match key {
            "user" | "database" | "replication" => Ok(()),
            "options" => {
                arguments(value)?.into_iter().try_for_each(|(key, value)| self.option(&key, value))
            }
            key if key.starts_with("_pq_.") => {
                self.extensions.push(key.to_owned());
                Ok(())
            }
            key => self.setting(key, value.to_owned()),
        }
    }

    /// A setting that passes on, by name in any case, as in Postgres.
    fn setting(&mut self, key: &str, value: String) -> Result<(), StartupError> {
        let name = key.to_ascii_lowercase();
        if !PASSING.contains(&name.as_str()) {
            return Err(StartupError::Parameter(key.chars().take(64).collect()));
        }
        self.settings.insert(name, value);
        Ok(())
    }

    fn option(&mut self, key: &str, value: String) -> Result<(), StartupError> {
        let Some(name) = key.strip_prefix("postern.") else {
            return self.setting(key, value);
        };
        let wrong = |why: String| StartupError::Option { name: name.to_owned(), why };
        match name {
            "target" => self.options.target = Some(TargetName::new(&value)?),
            "hold" => {
                self.options.hold = Some(
                    value.parse().map_err(|error: policies::TtlError| wrong(error.to_string()))?,
                )
            }
            "for" => {
                self.options.ttl = Some(
                    value.parse().map_err(|error: policies::TtlError| wrong(error.to_string()))?,
                )
            }
            "reason" => self.options.reason = value.chars().take(500).collect(),
            "ticket" => {
                let ticket = value.parse::<Ticket>();
                self.options.ticket = Some(ticket.map_err(|error| wrong(error.to_string()))?);
            }
            "auth" => {
                let read = value.parse();
                self.options.auth = Some(read.map_err(|why: &str| wrong(why.to_owned()))?);
            }
            _ => return Err(wrong("there is no such option".to_owned())),
        }
        Ok(())
    }

    fn finish(mut self, minor: u16) -> Result<Startup, StartupError> {
        let user = self
            .given
            .remove("user")
            .filter(|user| !user.is_empty())
            .ok_or(StartupError::NoUser)?;
        let replication = self.given.remove("replication");
        let off = |text: &String| !["false", "off", "no", "0"].contains(&text.as_str());
        Ok(Startup {
            minor,
            extensions: self.extensions,
            login: Login::new(&user)?,
            database: self.given.remove("database").filter(|name| !name.is_empty()),
            application: self.settings.get("application_name").cloned().unwrap_or_default(),
            settings: self.settings,
            options: self.options,
            replication: replication.filter(off),
        })
    }
}

/// `-c name=value`, `-cname=value` and `--name=value`, split at unescaped spaces as Postgres does.
fn arguments(text: &str) -> Result<Vec<(String, String)>, StartupError> {
    let malformed = || StartupError::Malformed("options are read as -c name=value".to_owned());
    let mut arguments = split_arguments(text).into_iter();
    let mut found = Vec::new();
    while let Some(word) = arguments.next() {
        let pair = match word.strip_prefix("-c").or_else(|| word.strip_prefix("--")) {
            Some("") => arguments.next().ok_or_else(malformed)?,
            Some(rest) => rest.to_owned(),
            None => return Err(malformed()),
        };
        let (name, value) = pair.split_once('=').ok_or_else(malformed)?;
        // As Postgres has it, a dash in a name of this form stands for an underscore.
        found.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(found)
}

fn split_arguments(text: &str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let next = if letter == '\\' { letters.next() } else { Some(letter) };
        match (letter, next, arguments.last_mut()) {
            (letter, ..) if letter.is_ascii_whitespace() => arguments.push(String::new()),
            (_, Some(next), Some(word)) => word.push(next),
            _ => {}
        }
    }
    arguments.retain(|argument| !argument.is_empty());
    arguments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn packet(version: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        for (key, value) in pairs {
            bytes.extend(format!("{key}\0{value}\0").bytes());
        }
        bytes.push(0);
        bytes
    }

    fn parse(pairs: &[(&str, &str)]) -> Result<Startup, StartupError> {
        Startup::parse(&packet(0x0003_0000, pairs))
    }

    #[test]
    fn what_ordinary_drivers_send_passes() {
        let startup = parse(&[
            ("user", "app_rw"),
            ("database", "orders"),
            ("application_name", "psql"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "Europe/Berlin"),
            ("extra_float_digits", "2"),
            (
                "options",
                "-c statement_timeout=5s --intervalstyle=iso_8601 -csearch_path=shop\\ one",
            ),
        ])
        .unwrap();
        assert!(startup.is_interactive());
        assert_eq!(startup.settings["timezone"], "Europe/Berlin");
        assert_eq!(startup.settings["search_path"], "shop one");
        assert_eq!(startup.settings["intervalstyle"], "iso_8601");
    }

    #[rstest]
    #[case(&[("user", "a"), ("role", "postgres")])]
    #[case(&[("user", "a"), ("session_authorization", "postgres")])]
    #[case(&[("user", "a"), ("ROLE", "postgres")])]
    #[case(&[("user", "a"), ("options", "-c role=postgres")])]
    #[case(&[("user", "a"), ("options", "-c session-authorization=postgres")])]
    #[case(&[("user", "a"), ("options", "-csession_authorization=postgres")])]
    #[case(&[("user", "a"), ("options", "--role=postgres")])]
    #[case(&[("user", "a"), ("options", "-c shared_preload_libraries=x")])]
    #[case(&[("user", "a"), ("options", "-c postern.taget=orders")])]
    #[case(&[("user", "a"), ("options", "-c postern.hold=soon")])]
    #[case(&[("user", "a"), ("options", "-c postern.auth=none")])]
    #[case(&[("user", "a"), ("options", "-d 5")])]
    #[case(&[("user", "a"), ("options", "-c")])]
    #[case(&[("user", "a"), ("nonsense", "1")])]
    #[case(&[("user", "a"), ("user", "b")])]
    #[case(&[("user", "")])]
    #[case(&[("database", "orders")])]
    #[case(&[("user", "a\nb")])]
    fn what_changes_identity_or_has_no_clear_reading_is_refused(#[case] pairs: &[(&str, &str)]) {
        assert!(parse(pairs).is_err(), "{pairs:?}");
    }

    #[test]
    fn packets_without_value_terminator_or_with_more_behind_are_refused() {
        let whole = packet(0x0003_0000, &[("user", "a"), ("database", "user")]);
        assert!(Startup::parse(&whole).is_ok());
        for cut in 4..whole.len() {
            assert!(Startup::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let more = [whole.as_slice(), b"x"].concat();
        assert!(Startup::parse(&more).is_err());
    }

    #[test]
    fn versions_and_extensions_are_distinguished() {
        let version = |version| Startup::parse(&packet(version, &[("user", "a"), ("_pq_.x", "1")]));
        assert_eq!(version(0x0002_0000), Err(StartupError::Version(2, 0)));
        let newer = version(0x0003_0009).unwrap();
        assert_eq!((newer.minor, newer.extensions), (9, vec!["_pq_.x".to_owned()]));
    }

    #[rstest]
    #[case("orders", "", "orders")]
    #[case("orders/reporting", "", "orders")]
    #[case("reporting", "-c postern.target=orders", "orders")]
    fn the_target_is_named_by_option_or_database(
        #[case] database: &str,
        #[case] options: &str,
        #[case] expected: &str,
    ) {
        let startup =
            parse(&[("user", "a"), ("database", database), ("options", options)]).unwrap();
        assert_eq!(startup.target_name(None).unwrap().as_str(), expected);
        let sni = TargetName::new("billing").unwrap();
        assert_eq!(startup.target_name(Some(sni)).unwrap().as_str(), "billing");
    }

    proptest! {
        #[test]
        fn no_packet_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Startup::parse(&bytes);
        }

        #[test]
        fn no_options_panic(text in ".{0,200}") {
            let _ = arguments(&text);
        }
    }
}
