//! A channel: one way by which people are notified, as the configuration says.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use policies::{GroupName, Timestamp, Ttl};
use reqwest::Certificate;
use thiserror::Error;
use url::{Host, Url};

use crate::model::channel_bounds::{Bounds, chain};
use crate::model::channel_email::{Mail, MailFault};
use crate::model::channel_template::{TemplateFault, Templates};
use crate::model::topic::Topic;
use crate::platform::backoff::Patience;
use crate::platform::outbound::{Outbound, PostFault};
use crate::platform::webhook_signature::WebhookSecret;

const LONGEST_NAME: usize = 40;

/// The name of a channel: lower-case letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(String);

/// Why a text is not the name of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not the name of a channel: it has 1 to 40 lower-case letters, digits and dashes")]
pub struct ChannelNameError(String);

/// One way by which people are notified.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// What it tells.
    pub topics: BTreeSet<Topic>,
    /// Where it isn't empty, only what is for people in one of these groups.
    pub groups: BTreeSet<GroupName>,
    /// How often a message is tried.
    pub patience: Patience,
    /// How long one try may take.
    pub timeout: Ttl,
    /// Its texts.
    pub templates: Templates,
    /// By what.
    pub way: Way,
}

/// By what people are notified.
#[derive(Debug, Clone)]
pub enum Way {
    /// A program of theirs, by signed JSON.
    Webhook(Hook),
    /// A channel of Slack.
    Slack(Hook),
    /// Mail to each of them.
    Email(Box<Mail>),
}

/// A URL that takes messages. It may be a secret, and can't be printed.
#[derive(Clone)]
pub struct Hook {
    pub(crate) url: Url,
    pub(crate) secrets: Vec<WebhookSecret>,
    pub(crate) client: Outbound,
}

/// Why a channel can't be made. It never holds the channel's address.
#[derive(Debug, Error)]
pub enum ChannelFault {
    /// The address is no URL.
    #[error("this is no URL: write it as `https://hooks.example.com/postern`")]
    NoUrl,
    /// It would be read on the way.
    #[error(
        "`http` would show messages to the network: `https` is wanted, but on this machine itself"
    )]
    Insecure,
    /// A webhook without a secret is believed by nobody.
    #[error("a webhook needs at least one secret")]
    NoSecret,
    /// A certificate to trust can't be read.
    #[error("the certificates to trust can't be read")]
    Roots(#[source] reqwest::Error),
    /// No client can be made, or the address may not be connected to.
    #[error(transparent)]
    Post(#[from] PostFault),
    /// The mail server's settings make no sense.
    #[error(transparent)]
    Mail(#[from] MailFault),
    /// The templates can't be used.
    #[error(transparent)]
    Template(#[from] TemplateFault),
}

impl Hook {
    /// A hook at this address; Slack's has no secret but the address itself.
    ///
    /// # Errors
    /// Where it can't be used.
    pub fn new(
        url: &str,
        secrets: Vec<WebhookSecret>,
        bounds: Bounds<'_>,
    ) -> Result<Self, ChannelFault> {
        let url = Url::parse(url).map_err(|_| ChannelFault::NoUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if is_here(&url) => {}
            "http" => return Err(ChannelFault::Insecure),
            _ => return Err(ChannelFault::NoUrl),
        }
        if !url.username().is_empty() || url.password().is_some() || url.host().is_none() {
            return Err(ChannelFault::NoUrl);
        }
        bounds.reach.admits(&url).map_err(PostFault::from)?;
        let roots = bounds.roots.map(|pem| Certificate::from_pem_bundle(pem.as_bytes()));
        let roots = roots.transpose().map_err(ChannelFault::Roots)?.unwrap_or_default();
        let client = Outbound::new(bounds.reach, bounds.timeout.duration(), &roots)?;
        Ok(Self { url, secrets, client })
    }

    /// Whose it is; what follows the host may be a secret.
    pub(crate) fn host(&self) -> String {
        self.url.host_str().unwrap_or_default().to_owned()
    }
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("host", &self.host()).finish_non_exhaustive()
    }
}

impl Way {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Email(_) => "email",
        }
    }

    /// Where it leads, as far as that is no secret.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Webhook(hook) | Self::Slack(hook) => hook.host(),
            Self::Email(mail) => mail.place(),
        }
    }
}

impl Channel {
    pub(crate) fn deadline(&self) -> Duration {
        self.timeout.duration()
    }

    /// Whether it can be reached and speaks what it should, without telling anybody anything.
    ///
    /// # Errors
    /// Why not, for people.
    pub async fn probe(&self, our_host: &str) -> Result<String, String> {
        let looked = tokio::time::timeout(self.deadline(), async {
            match &self.way {
                Way::Webhook(hook) | Way::Slack(hook) => {
                    let status = hook.client.knock(&hook.url).await;
                    status.map(|_| format!("{} answers", hook.host())).map_err(|why| chain(&why))
                }
                Way::Email(mail) => mail.probe(our_host).await.map_err(|why| chain(&why)),
            }
        });
        looked.await.unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
    }
}

impl ChannelName {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChannelName {
    type Err = ChannelNameError;

    fn from_str(text: &str) -> Result<Self, ChannelNameError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err(ChannelNameError(text.chars().take(80).flat_map(char::escape_debug).collect()))
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A channel as admins see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// Its name.
    pub name: ChannelName,
    /// `webhook`, `slack` or `email`.
    pub kind: &'static str,
    /// Where it leads, as far as that is no secret.
    pub place: String,
    /// What it tells.
    pub topics: Vec<Topic>,
    /// Since when it is off, where it is.
    pub off_since: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::platform::outbound::Reach;

    const SECRET: &str = "https://hooks.example.com/services/T0/B0/canary-of-a-hook";

    fn hook(url: &str, reach: Reach) -> Result<Hook, ChannelFault> {
        let bounds = Bounds { reach, timeout: Ttl::from_secs(1), roots: None };
        Hook::new(url, Vec::new(), bounds)
    }

    #[rstest]
    #[case("https://hooks.example.com/a", Reach::Public, true)]
    #[case("https://127.0.0.1/a", Reach::Public, false)]
    #[case("https://127.0.0.1/a", Reach::Anywhere, true)]
    #[case("http://127.0.0.1:8080/a", Reach::Anywhere, true)]
    #[case("http://localhost/a", Reach::Anywhere, true)]
    #[case("http://10.0.0.1/a", Reach::Anywhere, false)]
    #[case("http://hooks.example.com/a", Reach::Public, false)]
    #[case("ftp://hooks.example.com/a", Reach::Public, false)]
    #[case("https://a:b@hooks.example.com/a", Reach::Public, false)]
    #[case("hooks.example.com", Reach::Public, false)]
    fn a_hook_is_encrypted_and_public_unless_said_otherwise(
        #[case] url: &str,
        #[case] reach: Reach,
        #[case] fits: bool,
    ) {
        assert_eq!(hook(url, reach).is_ok(), fits);
    }

    #[test]
    fn the_address_of_a_hook_never_prints() {
        let shown = format!("{:?}", Way::Slack(hook(SECRET, Reach::Public).unwrap()));
        assert!(shown.contains("hooks.example.com") && !shown.contains("canary"), "{shown}");
        let insecure = SECRET.replace("https", "http");
        let refused = hook(&insecure, Reach::Public).unwrap_err();
        assert!(!format!("{refused:?} {refused}").contains("canary"));
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for (text, fits) in
            [("ops", true), ("dba-2", true), ("", false), ("Ops", false), ("a b", false)]
        {
            assert_eq!(text.parse::<ChannelName>().is_ok(), fits, "{text}");
        }
        assert!("a".repeat(41).parse::<ChannelName>().is_err());
    }
}
