//! Between the wire and the domain. Every name is parsed again: the other side may be of another
//! version, or forged.

use std::collections::BTreeMap;
use std::str::FromStr;

use policies::{
    Authn, Binds, Credential, End, Hold, Kind, Lease, LeaseKey, Lock, Method, Partition, Recording,
    Resource, Ssh, StreamBound, Target, Term, Timestamp, Ttl, UpstreamTls, WeakAuth,
};
use thiserror::Error;

use crate::v1;

/// A message that doesn't say what it has to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("malformed message: {field}: {why}")]
pub struct Malformed {
    field: &'static str,
    why: String,
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

fn malformed(field: &'static str, why: impl ToString) -> Malformed {
    Malformed { field, why: why.to_string() }
}

fn parse<T: FromStr>(field: &'static str, text: &str) -> Result<T, Malformed>
where
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| malformed(field, error))
}

fn present<T>(field: &'static str, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or_else(|| malformed(field, "is missing"))
}

/// Fixed words of the wire for a plain enum, both ways.
macro_rules! words {
    ($($wire:ident, $read:ident, $type:ty { $($word:literal => $value:path),* $(,)? })*) => {$(
        fn $wire(value: $type) -> String {
            match value { $($value => $word,)* }.to_owned()
        }

        fn $read(text: &str) -> Result<$type, Malformed> {
            match text {
                $($word => Ok($value),)*
                other => Err(malformed(stringify!($type), format!("unknown word {other:?}"))),
            }
        }
    )*};
}

words! {
    kind_word, kind_of, Kind { "postgres" => Kind::Postgres, "ssh" => Kind::Ssh }
    hold_word, hold_of, Hold {
        "interactive" => Hold::Interactive, "always" => Hold::Always, "never" => Hold::Never,
    }
    partition_word, partition_of, Partition {
        "cut" => Partition::Cut, "until-lease-end" => Partition::UntilLeaseEnd,
    }
    binds_word, binds_of, Binds {
        "keep" => Binds::Keep, "hash" => Binds::Hash, "omit" => Binds::Omit,
    }
    weak_auth_word, weak_auth_of, WeakAuth {
        "cleartext" => WeakAuth::Cleartext, "md5" => WeakAuth::Md5,
        "sasl-plain" => WeakAuth::SaslPlain,
    }
    credential_word, credential_of, Credential {
        "password" => Credential::Password, "certificate" => Credential::Certificate,
        "key" => Credential::Key,
    }
    method_word, method_of, Method {
        "certificate" => Method::Certificate, "token" => Method::Token,
        "confirmed" => Method::Confirmed, "link" => Method::Link,
        "passkey" => Method::Passkey, "oidc" => Method::Oidc,
        "bearer" => Method::Bearer, "key" => Method::Key, "workload" => Method::Workload,
    }
}

impl From<Resource> for v1::Resource {
    fn from(resource: Resource) -> Self {
        Self {
            target: resource.target.into(),
            login: resource.login.into(),
            database: resource.database.map(Into::into),
        }
    }
}

impl TryFrom<v1::Resource> for Resource {
    type Error = Malformed;

    fn try_from(wire: v1::Resource) -> Result<Self, Malformed> {
        Ok(Self {
            target: parse("target", &wire.target)?,
            login: parse("login", &wire.login)?,
            database: wire.database.map(|name| parse("database", &name)).transpose()?,
        })
    }
}

impl From<Lease> for v1::Lease {
    fn from(lease: Lease) -> Self {
        let term = match lease.term {
            Term::Claim { by, ttl } => v1::lease::Term::Claim(v1::Claim {
                by_ms: by.millis(),
                ttl_ms: ttl.millis().cast_unsigned(),
            }),
            Term::Until(ends) => v1::lease::Term::UntilMs(ends.millis()),
        };
        Self {
            grant: lease.grant.into(),
            principal: lease.key.principal.into(),
            name: lease.name,
            resource: Some(lease.key.resource.into()),
            term: Some(term),
            record: lease.record.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = Malformed;

    fn try_from(wire: v1::Lease) -> Result<Self, Malformed> {
        let term = match present("term", wire.term)? {
            v1::lease::Term::Claim(claim) => Term::Claim {
                by: Timestamp::from_millis(claim.by_ms),
                ttl: Ttl::from_millis(claim.ttl_ms),
            },
            v1::lease::Term::UntilMs(ends) => Term::Until(Timestamp::from_millis(ends)),
        };
        let resource = present("resource", wire.resource)?.try_into()?;
        let key = LeaseKey { principal: parse("principal", &wire.principal)?, resource };
        let record = wire.record.iter().map(|word| parse("record", word));
        let record = record.collect::<Result<_, _>>()?;
        Ok(Self { grant: parse("grant", &wire.grant)?, key, name: wire.name, term, record })
    }
}

impl From<Lock> for v1::Lock {
    fn from(lock: Lock) -> Self {
        Self {
            id: lock.id.into(),
            subject: lock.subject.into(),
            reason: lock.reason,
            by: lock.by.into(),
            at_ms: lock.at.millis(),
            until_ms: lock.until.map(Timestamp::millis),
            members: lock.members.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Lock> for Lock {
    type Error = Malformed;

    fn try_from(wire: v1::Lock) -> Result<Self, Malformed> {
        let members = wire.members.iter().map(|member| parse("member", member));
        Ok(Self {
            id: parse("lock", &wire.id)?,
            subject: parse("subject", &wire.subject)?,
            reason: wire.reason,
            by: parse("by", &wire.by)?,
            at: Timestamp::from_millis(wire.at_ms),
            until: wire.until_ms.map(Timestamp::from_millis),
            members: members.collect::<Result<_, _>>()?,
        })
    }
}

impl v1::Gone {
    /// The message that says how a grant ended.
    #[must_use]
    pub fn new(grant: &policies::GrantId, end: &End) -> Self {
        let detail = end.detail().unwrap_or_default().to_owned();
        Self { grant: grant.to_string(), end: end.code().to_owned(), detail }
    }

    /// Which grant ended, and how.
    ///
    /// # Errors
    /// Where one of them is none.
    pub fn parts(&self) -> Result<(policies::GrantId, End), Malformed> {
        Ok((parse("grant", &self.grant)?, end(&self.end, &self.detail)?))
    }
}

impl v1::SessionEnded {
    /// How the session ended.
    ///
    /// # Errors
    /// Where the words are unknown.
    pub fn how(&self) -> Result<End, Malformed> {
        end(&self.end, &self.detail)
    }
}

impl v1::Identity {
    /// Who it is, and how we know.
    ///
    /// # Errors
    /// Where one of them is missing or none.
    pub fn parts(self) -> Result<(policies::PrincipalId, String, Authn), Malformed> {
        let principal = parse("principal", &self.principal)?;
        Ok((principal, self.name, present("authn", self.authn)?.try_into()?))
    }
}

impl v1::Granted {
    /// The grant that stands.
    ///
    /// # Errors
    /// Where it is none.
    pub fn id(&self) -> Result<policies::GrantId, Malformed> {
        parse("grant", &self.grant)
    }
}

fn end(code: &str, detail: &str) -> Result<End, Malformed> {
    End::from_parts(code, detail).ok_or_else(|| malformed("end", format!("unknown word {code:?}")))
}

impl From<Authn> for v1::Authn {
    fn from(authn: Authn) -> Self {
        Self {
            method: method_word(authn.method),
            at_ms: authn.at.millis(),
            evidence: authn.evidence,
            device: authn.device.map(Into::into),
        }
    }
}

impl TryFrom<v1::Authn> for Authn {
    type Error = Malformed;

    fn try_from(wire: v1::Authn) -> Result<Self, Malformed> {
        Ok(Self {
            method: method_of(&wire.method)?,
            at: Timestamp::from_millis(wire.at_ms),
            evidence: wire.evidence,
            device: wire.device.map(|device| parse("device", &device)).transpose()?,
        })
    }
}

impl From<UpstreamTls> for v1::UpstreamTls {
    fn from(tls: UpstreamTls) -> Self {
        let (mode, roots, name) = match tls {
            UpstreamTls::VerifyFull { roots, name } => ("verify-full", roots, name),
            UpstreamTls::VerifyCa { roots } => ("verify-ca", roots, None),
            UpstreamTls::InsecureNoVerify => ("insecure-no-verify", None, None),
            UpstreamTls::Off => ("off", None, None),
        };
        Self { mode: mode.to_owned(), roots, name }
    }
}

impl TryFrom<v1::UpstreamTls> for UpstreamTls {
    type Error = Malformed;

    fn try_from(wire: v1::UpstreamTls) -> Result<Self, Malformed> {
        match wire.mode.as_str() {
            "verify-full" => Ok(Self::VerifyFull { roots: wire.roots, name: wire.name }),
            "verify-ca" => Ok(Self::VerifyCa { roots: wire.roots }),
            "insecure-no-verify" => Ok(Self::InsecureNoVerify),
            "off" => Ok(Self::Off),
            other => Err(malformed("tls", format!("unknown word {other:?}"))),
        }
    }
}

impl From<Ssh> for v1::Ssh {
    fn from(ssh: Ssh) -> Self {
        Self {
            host_keys: ssh.host_keys,
            host_authorities: ssh.host_authorities,
            channels: ssh.channels.iter().map(ToString::to_string).collect(),
            env: ssh.env,
            read_only: ssh.read_only,
            under: ssh.under,
            record_streams: Some(ssh.record_streams.into()),
        }
    }
}

impl TryFrom<v1::Ssh> for Ssh {
    type Error = Malformed;

    fn try_from(wire: v1::Ssh) -> Result<Self, Malformed> {
        let channels = wire.channels.iter().map(|word| parse("channel", word));
        let bound = wire.record_streams.map_or(Ok(StreamBound::default()), StreamBound::try_from);
        Ok(Self {
            host_keys: wire.host_keys,
            host_authorities: wire.host_authorities,
            channels: channels.collect::<Result<_, _>>()?,
            env: wire.env,
            read_only: wire.read_only,
            under: wire.under,
            record_streams: bound.map_err(|error| malformed("record_streams", error))?,
        })
    }
}

impl From<Target> for v1::Target {
    fn from(target: Target) -> Self {
        let logins =
            target.logins.into_iter().map(|(login, kind)| (login.into(), credential_word(kind)));
        Self {
            name: target.name.into(),
            kind: kind_word(target.kind),
            host: target.host,
            port: u32::from(target.port),
            tls: Some(target.tls.into()),
            environment: target.environment.map(Into::into),
            labels: target.labels.into_iter().collect(),
            databases: target.databases.into_iter().map(Into::into).collect(),
            logins: logins.collect(),
            hold: hold_word(target.hold),
            partition: partition_word(target.partition),
            binds: binds_word(target.recording.binds),
            default_ttl_ms: target.default_ttl.millis().cast_unsigned(),
            replication: target.replication,
            weak_auth: target.weak_auth.into_iter().map(weak_auth_word).collect(),
            ssh: target.ssh.map(Into::into),
        }
    }
}

impl TryFrom<v1::Target> for Target {
    type Error = Malformed;

    fn try_from(wire: v1::Target) -> Result<Self, Malformed> {
        let databases = wire.databases.iter().map(|name| parse("database", name));
        let logins = wire.logins.iter().map(|(login, kind)| {
            Ok::<_, Malformed>((parse("login", login)?, credential_of(kind)?))
        });
        Ok(Self {
            name: parse("target", &wire.name)?,
            kind: kind_of(&wire.kind)?,
            host: wire.host,
            port: u16::try_from(wire.port).map_err(|error| malformed("port", error))?,
            tls: present("tls", wire.tls)?.try_into()?,
            environment: wire.environment.map(|name| parse("environment", &name)).transpose()?,
            labels: wire.labels.into_iter().collect(),
            databases: databases.collect::<Result<_, _>>()?,
            logins: logins.collect::<Result<BTreeMap<_, _>, _>>()?,
            hold: hold_of(&wire.hold)?,
            partition: partition_of(&wire.partition)?,
            recording: Recording { binds: binds_of(&wire.binds)? },
            default_ttl: Ttl::from_millis(wire.default_ttl_ms),
            replication: wire.replication,
            weak_auth: wire
                .weak_auth
                .iter()
                .map(|word| weak_auth_of(word))
                .collect::<Result<_, _>>()?,
            ssh: wire.ssh.map(TryInto::try_into).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use policies::{
        Database, Environment, GrantId, LockId, Login, PrincipalId, Subject, TargetName,
    };

    use super::*;

    fn target(tls: UpstreamTls) -> Target {
        Target {
            name: TargetName::new("orders").unwrap(),
            kind: Kind::Postgres,
            host: "db.internal".into(),
            port: 5432,
            tls,
            environment: Some(Environment::new("prod").unwrap()),
            labels: BTreeMap::from([("team".into(), "shop".into())]),
            databases: vec![Database::new("shop").unwrap()],
            logins: BTreeMap::from([(Login::new("app").unwrap(), Credential::Certificate)]),
            hold: Hold::Interactive,
            partition: Partition::UntilLeaseEnd,
            recording: Recording { binds: Binds::Hash },
            default_ttl: Ttl::from_secs(60),
            replication: true,
            weak_auth: [WeakAuth::Md5, WeakAuth::SaslPlain].into(),
            ssh: None,
        }
    }

    #[test]
    fn targets_survive_the_wire() {
        for tls in [
            UpstreamTls::VerifyFull { roots: Some("pem".into()), name: None },
            UpstreamTls::VerifyCa { roots: None },
            UpstreamTls::InsecureNoVerify,
            UpstreamTls::Off,
        ] {
            let target = target(tls);
            assert_eq!(Target::try_from(v1::Target::from(target.clone())), Ok(target));
        }
    }

    #[test]
    fn leases_and_locks_survive_the_wire() {
        let at = Timestamp::from_millis(5);
        for term in [Term::Until(at), Term::Claim { by: at, ttl: Ttl::from_secs(1) }] {
            let resource = "app@orders/shop".parse().unwrap();
            let key = LeaseKey { principal: PrincipalId::new("alice").unwrap(), resource };
            let lease = Lease {
                grant: GrantId::new("gr-1").unwrap(),
                key,
                name: "Alice".into(),
                term,
                record: [policies::Record::Binds].into(),
            };
            assert_eq!(Lease::try_from(v1::Lease::from(lease.clone())), Ok(lease));
        }
        let lock = Lock {
            id: LockId::new("lk-1").unwrap(),
            subject: Subject::Target(TargetName::new("orders").unwrap()),
            reason: "incident".into(),
            by: PrincipalId::new("bob").unwrap(),
            at,
            until: Some(at),
            members: [PrincipalId::new("alice").unwrap()].into(),
        };
        assert_eq!(Lock::try_from(v1::Lock::from(lock.clone())), Ok(lock));
    }

    #[test]
    fn what_says_too_little_or_nonsense_is_refused() {
        let good = v1::Target::from(target(UpstreamTls::Off));
        for bad in [
            v1::Target { tls: None, ..good.clone() },
            v1::Target { port: 70_000, ..good.clone() },
            v1::Target { hold: "maybe".into(), ..good.clone() },
            v1::Target { name: "Orders".into(), ..good.clone() },
            v1::Target { databases: vec!["a\nb".into()], ..good },
        ] {
            assert!(Target::try_from(bad.clone()).is_err(), "{bad:?}");
        }
        assert!(Lease::try_from(v1::Lease::default()).is_err());
        assert!(Lock::try_from(v1::Lock::default()).is_err());
        assert!(
            v1::Gone { grant: "gr-1".into(), end: "maybe".into(), detail: String::new() }
                .parts()
                .is_err()
        );
    }
}
