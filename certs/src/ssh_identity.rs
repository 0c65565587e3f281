//! Who a certificate says somebody is, once the handshake has proved that they hold its key; and
//! whether a target's host key is the one that it has to be.
//!
//! The library checks the signature and the dates. All else is checked here: the authority, the type,
//! the one principal, the place that the certificate may be used from. A critical option that isn't
//! known refuses the certificate, as it has to.

use std::net::IpAddr;

use ipnet::IpNet;
use ssh_key::certificate::CertType;
use ssh_key::{Certificate, HashAlg, PublicKey};

use crate::ssh::{DEVICE, evidence};

/// A person, as a certificate of ours names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPerson {
    /// The stable id of the principal.
    pub principal_id: String,
    /// The device that the key lives on.
    pub device: String,
    /// The name by which the certificate is known in audit logs and locks.
    pub evidence: String,
}

/// Why a certificate proves nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshRejection {
    /// Another authority signed it, or nobody, or it isn't valid now.
    #[error("it is not a valid certificate of this gateway's authority")]
    Invalid,
    /// It is for a host.
    #[error("it is a host's certificate, and a person's is needed")]
    NotUser,
    /// It names nobody, or several.
    #[error("it does not name exactly one person")]
    Principals,
    /// It names no device.
    #[error("it names no device")]
    Device,
    /// It may be used from elsewhere only.
    #[error("it may not be used from this address")]
    Source,
    /// It has an option that may not be ignored, and isn't known.
    #[error("it has a critical option that is not known here")]
    CriticalOption,
    /// It is for another host.
    #[error("it is for another host")]
    Host,
}

/// Reads a person out of a certificate whose key the other side has proved to hold. `now` is in unix
/// milliseconds.
pub fn identify_ssh(
    certificate: &Certificate,
    authority: &PublicKey,
    source: IpAddr,
    now: i64,
) -> Result<SshPerson, SshRejection> {
    check(certificate, authority, now)?;
    if certificate.cert_type() != CertType::User {
        return Err(SshRejection::NotUser);
    }
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "source-address" if allows(value, source) => {}
            "source-address" => return Err(SshRejection::Source),
            _ => return Err(SshRejection::CriticalOption),
        }
    }
    let [principal] = certificate.valid_principals() else {
        return Err(SshRejection::Principals);
    };
    let device = certificate.extensions().get(DEVICE).filter(|device| !device.is_empty());
    Ok(SshPerson {
        principal_id: principal.clone(),
        device: device.ok_or(SshRejection::Device)?.clone(),
        evidence: evidence(certificate.serial()),
    })
}

/// Checks a host certificate of a target, for the name by which the target is reached.
pub fn check_host(
    certificate: &Certificate,
    authority: &PublicKey,
    host: &str,
    now: i64,
) -> Result<(), SshRejection> {
    check(certificate, authority, now)?;
    if certificate.cert_type() != CertType::Host || !certificate.critical_options().is_empty() {
        return Err(SshRejection::Invalid);
    }
    // One without names would be for all hosts.
    let named = certificate.valid_principals().iter().any(|name| name.eq_ignore_ascii_case(host));
    if named { Ok(()) } else { Err(SshRejection::Host) }
}

/// The signature, the authority and the dates.
fn check(certificate: &Certificate, authority: &PublicKey, now: i64) -> Result<(), SshRejection> {
    if certificate.signature_key() != authority.key_data() {
        return Err(SshRejection::Invalid);
    }
    let seconds = u64::try_from(now.div_euclid(1_000)).map_err(|_| SshRejection::Invalid)?;
    let known = [authority.fingerprint(HashAlg::Sha256)];
    certificate.validate_at(seconds, &known).map_err(|_| SshRejection::Invalid)
}

/// Whether an address is in this list of addresses and networks; a list that can't be read has none.
fn allows(list: &str, source: IpAddr) -> bool {
    let source = source.to_canonical();
    let networks = list.split(',').map(|entry| {
        let network = entry.parse::<IpNet>().ok();
        network.or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from))
    });
    let Some(networks) = networks.collect::<Option<Vec<_>>>() else {
        return false;
    };
    networks.iter().any(|network| network.contains(&source))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use ssh_key::PrivateKey;
    use ssh_key::certificate::Builder;
    use ssh_key::private::{Ed25519Keypair, KeypairData};

    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const SECOND: u64 = 1_800_000_000;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&[seed; 32])), "").unwrap()
    }

    /// A certificate like ours but for what the test changes.
    fn certificate(change: impl FnOnce(&mut Builder)) -> Builder {
        let subject = key(9).public_key().key_data().clone();
        let mut builder = Builder::new([7; 32], subject, SECOND - 60, SECOND + 60).unwrap();
        change(&mut builder);
        builder
    }

    fn ours(builder: &mut Builder) {
        builder.cert_type(CertType::User).unwrap();
        builder.valid_principal("alice").unwrap();
        builder.extension(DEVICE, "laptop").unwrap();
    }

    fn verdict(certificate: &Certificate, now: i64) -> Result<SshPerson, SshRejection> {
        identify_ssh(certificate, key(1).public_key(), "192.0.2.7".parse().unwrap(), now)
    }

    #[test]
    fn a_person_is_read_out_of_our_own_certificate_while_it_is_valid() {
        let certificate = certificate(ours).sign(&key(1)).unwrap();
        let person = verdict(&certificate, NOW).unwrap();
        assert_eq!((person.principal_id.as_str(), person.device.as_str()), ("alice", "laptop"));
        for now in [NOW - 61_000, NOW + 60_000, -1] {
            assert_eq!(verdict(&certificate, now), Err(SshRejection::Invalid), "{now}");
        }
    }

    #[test]
    fn another_authority_says_nothing() {
        let certificate = certificate(ours).sign(&key(2)).unwrap();
        assert_eq!(verdict(&certificate, NOW), Err(SshRejection::Invalid));
    }

    #[test]
    fn a_host_certificate_is_nobodys() {
        let change = |builder: &mut Builder| {
            builder.cert_type(CertType::Host).unwrap();
            builder.valid_principal("alice").unwrap();
        };
        let certificate = certificate(change).sign(&key(1)).unwrap();
        assert_eq!(verdict(&certificate, NOW), Err(SshRejection::NotUser));
    }

    #[test]
    fn a_certificate_for_everybody_or_for_several_is_nobodys() {
        for names in [vec![], vec!["alice", "bob"]] {
            let change = |builder: &mut Builder| {
                builder.cert_type(CertType::User).unwrap();
                builder.all_principals_valid().unwrap();
                for name in &names {
                    builder.valid_principal(*name).unwrap();
                }
                builder.extension(DEVICE, "laptop").unwrap();
            };
            let certificate = certificate(change).sign(&key(1)).unwrap();
            assert_eq!(verdict(&certificate, NOW), Err(SshRejection::Principals));
        }
    }

    #[rstest]
    #[case::here("source-address", "192.0.2.0/24", None)]
    #[case::just_here("source-address", "198.51.100.1,192.0.2.7", None)]
    #[case::elsewhere("source-address", "198.51.100.0/24", Some(SshRejection::Source))]
    #[case::unreadable("source-address", "192.0.2.0/24,x", Some(SshRejection::Source))]
    #[case::empty("source-address", "", Some(SshRejection::Source))]
    #[case::forced("force-command", "/bin/true", Some(SshRejection::CriticalOption))]
    #[case::touch("verify-required", "", Some(SshRejection::CriticalOption))]
    #[case::new("unheard-of@example.com", "", Some(SshRejection::CriticalOption))]
    fn critical_options_are_met_or_refuse(
        #[case] name: &str,
        #[case] value: &str,
        #[case] expected: Option<SshRejection>,
    ) {
        let change = |builder: &mut Builder| {
            ours(builder);
            builder.critical_option(name, value).unwrap();
        };
        let certificate = certificate(change).sign(&key(1)).unwrap();
        assert_eq!(verdict(&certificate, NOW).err(), expected);
    }

    #[rstest]
    #[case::its_own("web-1.internal", "web-1.internal", true)]
    #[case::case_of_letters("WEB-1.internal", "web-1.internal", true)]
    #[case::another("web-2.internal", "web-1.internal", false)]
    fn a_host_certificate_is_for_the_hosts_that_it_names(
        #[case] named: &str,
        #[case] host: &str,
        #[case] accepted: bool,
    ) {
        let change = |builder: &mut Builder| {
            builder.cert_type(CertType::Host).unwrap();
            builder.valid_principal(named).unwrap();
        };
        let certificate = certificate(change).sign(&key(1)).unwrap();
        let verdict = check_host(&certificate, key(1).public_key(), host, NOW);
        assert_eq!(verdict.is_ok(), accepted);
        assert!(check_host(&certificate, key(2).public_key(), host, NOW).is_err());
    }

    #[test]
    fn a_persons_certificate_is_no_hosts() {
        let certificate = certificate(ours).sign(&key(1)).unwrap();
        let verdict = check_host(&certificate, key(1).public_key(), "alice", NOW);
        assert_eq!(verdict, Err(SshRejection::Invalid));
    }
}
