//! Mail to people, over SMTP.
//!
//! The connection goes to an address that was looked at (`outbound`), and is encrypted and verified
//! before anything of a message or a password is sent; only on this machine itself may that be off. What
//! goes into a header passes through types that know its grammar, so that no name or reason makes
//! another one. The message's id is that of the outbox, so that two deliveries of one are one to the reader.

use std::fmt;
use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use policies::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::model::channel_bounds::{Bounds, chain};
use crate::model::channel_template::{Part, TemplateFault, Templates};
use crate::model::notice::Notice;
use crate::platform::backoff::Outcome;
use crate::platform::email_address::{Email, EmailError};
use crate::platform::outbound::{AddressFault, Reach};
use crate::platform::sanitize::clip;

/// A mail server, and how it is spoken to.
#[derive(Clone)]
pub struct Mail {
    server: Server,
    tls: Option<TlsParameters>,
    encryption: MailTls,
    sign_in: Option<(String, SecretString)>,
    from: Mailbox,
    reach: Reach,
    timeout: Duration,
}

/// Where a mail server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its host, as its certificate names it.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// How mail is encrypted on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MailTls {
    /// By `STARTTLS` (RFC 3207); without it, nothing is sent.
    #[default]
    StartTls,
    /// From the first byte (RFC 8314).
    Implicit,
    /// Not at all: on this machine only.
    Off,
}

/// Why a mail server's settings make no sense.
#[derive(Debug, Error)]
pub enum MailFault {
    /// The sender is none.
    #[error("`from` is no sender: write it as `Postern <postern@example.com>`")]
    From,
    /// Mail would be read on the way.
    #[error("without TLS, mail would be read on the way to `{0}`: write `tls = \"starttls\"`")]
    Insecure(String),
    /// The certificates to trust, or the server's name, can't be used.
    #[error("TLS to the mail server can't be set up")]
    Tls(#[source] lettre::transport::smtp::Error),
}

/// Why a mail was not taken.
#[derive(Debug, Error)]
pub(crate) enum SendFault {
    #[error(transparent)]
    Address(#[from] AddressFault),
    #[error("the server offers no `STARTTLS`, and without it nothing is sent")]
    Plain,
    #[error("the mail server does not let us in")]
    Entry(#[source] lettre::transport::smtp::Error),
    #[error("the mail server did not take it")]
    Smtp(#[source] lettre::transport::smtp::Error),
    #[error("the mail can't be written")]
    Written(#[from] lettre::error::Error),
    #[error(transparent)]
    Recipient(#[from] EmailError),
    #[error(transparent)]
    Template(#[from] TemplateFault),
}

impl SendFault {
    /// Whether the same would happen at every other try. What the server has against us, and not against
    /// this mail, somebody may mend.
    fn is_for_good(&self) -> bool {
        match self {
            Self::Smtp(error) => error.is_permanent(),
            Self::Recipient(_) | Self::Written(_) => true,
            Self::Address(_) | Self::Plain | Self::Entry(_) | Self::Template(_) => false,
        }
    }
}

impl Mail {
    /// A mail server that is spoken to like this.
    ///
    /// # Errors
    /// Where it would be spoken to in clear, or something can't be read.
    pub fn new(
        server: Server,
        encryption: MailTls,
        sign_in: Option<(String, SecretString)>,
        from: &str,
        bounds: Bounds<'_>,
    ) -> Result<Self, MailFault> {
        let from: Mailbox = from.parse().map_err(|_| MailFault::From)?;
        let tls = match encryption {
            MailTls::StartTls | MailTls::Implicit => Some(trust(&server.host, bounds.roots)?),
            MailTls::Off if is_here(&server.host) => None,
            MailTls::Off => return Err(MailFault::Insecure(server.host)),
        };
        let (reach, timeout) = (bounds.reach, bounds.timeout.duration());
        Ok(Self { server, tls, encryption, sign_in, from, reach, timeout })
    }

    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.server.host, self.server.port)
    }

    /// Connects, encrypts, and signs in: everything but sending.
    async fn connect(&self, our_host: &str) -> Result<AsyncSmtpConnection, SendFault> {
        let Server { host, port } = &self.server;
        let addresses = self.reach.resolve(host, *port).await?;
        let hello = ClientId::Domain(our_host.to_owned());
        let first = self.tls.clone().filter(|_| self.encryption == MailTls::Implicit);
        let wait = Some(self.timeout);
        let connecting =
            AsyncSmtpConnection::connect_tokio1(&addresses[..], wait, &hello, first, None);
        let mut server = connecting.await.map_err(SendFault::Entry)?;
        if let (MailTls::StartTls, Some(tls)) = (self.encryption, &self.tls) {
            if !server.can_starttls() {
                server.abort().await;
                return Err(SendFault::Plain);
            }
            server.starttls(tls.clone(), &hello).await.map_err(SendFault::Entry)?;
        }
        if let Some((user, password)) = &self.sign_in {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            let ways = [Mechanism::Plain, Mechanism::Login];
            server.auth(&ways, &credentials).await.map_err(SendFault::Entry)?;
        }
        Ok(server)
    }

    /// Speaks to the server as far as one can without sending.
    pub(crate) async fn probe(&self, our_host: &str) -> Result<String, impl std::error::Error> {
        let mut server = self.connect(our_host).await?;
        let encrypted =
            if server.is_encrypted() { "encrypted" } else { "in clear, on this machine" };
        server.abort().await;
        Ok::<_, SendFault>(format!("{} takes mail, {encrypted}", self.place()))
    }

    pub(crate) async fn send(&self, letter: &OutgoingMail<'_>) -> Outcome {
        match self.delivered(letter).await {
            Ok(()) => Outcome::Sent,
            Err(fault) if fault.is_for_good() => Outcome::Never(chain(&fault)),
            Err(fault) => Outcome::Later(chain(&fault), None),
        }
    }

    async fn delivered(&self, letter: &OutgoingMail<'_>) -> Result<(), SendFault> {
        let message = self.message(letter)?;
        let mut server = self.connect(letter.our_host).await?;
        let sent = server.send(message.envelope(), &message.formatted()).await;
        sent.map_err(SendFault::Smtp)?;
        // It is taken: whether the parting is polite changes nothing.
        let _ = server.quit().await;
        Ok(())
    }

    fn message(&self, letter: &OutgoingMail<'_>) -> Result<Message, SendFault> {
        let OutgoingMail { id, to, name, notice, templates, our_host } = letter;
        let to = Mailbox::new(Some(clip(name, 100)), to.address()?);
        let (text, html) =
            (templates.render(Part::Text, notice)?, templates.render(Part::Html, notice)?);
        let builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(templates.render(Part::Subject, notice)?)
            .message_id(Some(format!("<{id}@{our_host}>")))
            .date(moment(notice.at))
            .raw_header(fixed("Auto-Submitted", "auto-generated"))
            .raw_header(fixed("X-Auto-Response-Suppress", "All"));
        Ok(builder.multipart(MultiPart::alternative_plain_html(text, html))?)
    }
}

/// One mail.
pub(crate) struct OutgoingMail<'a> {
    pub(crate) id: &'a str,
    pub(crate) to: &'a Email,
    pub(crate) name: &'a str,
    pub(crate) notice: &'a Notice,
    pub(crate) templates: &'a Templates,
    pub(crate) our_host: &'a str,
}

fn fixed(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn moment(at: Timestamp) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(at.millis()).unwrap_or(0));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn trust(host: &str, roots: Option<&str>) -> Result<TlsParameters, MailFault> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = roots {
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(MailFault::Tls)?);
    }
    builder.build().map_err(MailFault::Tls)
}

fn is_here(host: &str) -> bool {
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("server", &self.server)
            .field("encryption", &self.encryption)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use policies::Ttl;

    use super::*;
    use crate::model::topic::Topic;

    fn bounds() -> Bounds<'static> {
        Bounds { reach: Reach::Anywhere, timeout: Ttl::from_secs(2), roots: None }
    }

    fn mail(host: &str, tls: MailTls, from: &str) -> Result<Mail, MailFault> {
        let server = Server { host: host.to_owned(), port: 25 };
        Mail::new(server, tls, Some(("postern".into(), "canary-password".into())), from, bounds())
    }

    fn written(name: &str, reason: &str) -> String {
        let mut notice = Notice::sample(Topic::RequestAsked);
        notice.said.name = Some(name.to_owned());
        notice.said.reason = Some(reason.to_owned());
        let mail = mail("localhost", MailTls::Off, "Postern <postern@example.com>").unwrap();
        let letter = OutgoingMail {
            id: "msg-aaaaaaaaaaaa",
            to: &"bob@example.com".parse().unwrap(),
            name,
            notice: &notice,
            templates: &Templates::default(),
            our_host: "gate.example.com",
        };
        String::from_utf8(mail.message(&letter).unwrap().formatted()).unwrap()
    }

    #[test]
    fn a_mail_says_who_sends_it_and_keeps_its_id() {
        let mail = written("Bob", "OPS-12");
        let head = mail.split("\r\n\r\n").next().unwrap();
        for line in [
            "From: Postern <postern@example.com>",
            "To: Bob <bob@example.com>",
            "Subject: Bob asks for app_rw@orders/shop for 1h",
            "Message-ID: <msg-aaaaaaaaaaaa@gate.example.com>",
            "Date: Fri, 15 Jan 2027 08:00:00 +0000",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(head.lines().any(|found| found == line), "{line} is not in\n{head}");
        }
    }

    #[test]
    fn no_name_or_reason_makes_a_header() {
        let names = [
            "Bob\r\nBcc: all@example.com",
            "Bob\nX-Evil: 1",
            "\"Bob\" <x@example.com>,",
            "=?utf-8?q?a?=",
        ];
        for name in names {
            let mail = written(name, "x\r\n.\r\nMAIL FROM:<evil@example.com>\r\nSubject: forged");
            let head = mail.split("\r\n\r\n").next().unwrap();
            let unfolded = head.replace("\r\n ", " ");
            let names: Vec<&str> =
                unfolded.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
            assert!(!names.contains(&"Bcc") && !names.contains(&"X-Evil"), "{head}");
            assert_eq!(names.iter().filter(|name| **name == "Subject").count(), 1, "{head}");
            assert_eq!(names.iter().filter(|name| **name == "To").count(), 1, "{head}");
        }
    }

    #[test]
    fn mail_is_encrypted_unless_the_server_is_here() {
        let from = "postern@example.com";
        assert!(mail("smtp.example.com", MailTls::StartTls, from).is_ok());
        assert!(mail("127.0.0.1", MailTls::Off, from).is_ok());
        for host in ["smtp.example.com", "10.0.0.1", "localhost.example.com"] {
            let refused = mail(host, MailTls::Off, from);
            assert!(matches!(refused, Err(MailFault::Insecure(_))), "{host}");
        }
        assert!(matches!(mail("localhost", MailTls::Off, "nobody"), Err(MailFault::From)));
    }

    #[test]
    fn its_password_never_prints() {
        let mail = mail("localhost", MailTls::Off, "postern@example.com").unwrap();
        assert!(!format!("{mail:?}").contains("canary"));
    }
}
