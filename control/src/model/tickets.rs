//! Where it is learned how tickets stand.

use policies::{Ticket, Timestamp, Ttl};
use secrecy::SecretString;
use thiserror::Error;
use url::Url;

/// What stands for the ticket in an address.
const HERE: &str = "{ticket}";

/// Where it is learned how a ticket stands.
#[derive(Debug, Clone)]
pub struct TicketSource {
    /// The address, with `{ticket}` in its path.
    pub url: TicketUrl,
    /// A bearer token.
    pub bearer: Option<SecretString>,
    /// Where the state is in the answer: a JSON pointer (RFC 6901).
    pub state: String,
    /// How often it is asked about tickets in use.
    pub refresh: Ttl,
    /// For how long its last word holds.
    pub keep: Ttl,
}

/// A URL with a place for a ticket in its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketUrl(Url);

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no address for tickets: write it as `https://tracker.example.com/issues/{{ticket}}`, \
     with `{{ticket}}` as a whole part of its path"
)]
pub struct TicketUrlError(String);

impl std::str::FromStr for TicketUrl {
    type Err = TicketUrlError;

    fn from_str(text: &str) -> Result<Self, TicketUrlError> {
        let wrong = || TicketUrlError(text.chars().take(200).collect());
        let url = Url::parse(text).map_err(|_| wrong())?;
        let encoded = "%7Bticket%7D";
        let parts = url.path_segments().ok_or_else(wrong)?;
        let places = parts.filter(|part| *part == encoded || *part == HERE).count();
        let is_web = matches!(url.scheme(), "https" | "http") && url.has_host();
        let bare = url.username().is_empty() && url.password().is_none();
        if places == 1 && is_web && bare { Ok(Self(url)) } else { Err(wrong()) }
    }
}

impl TicketUrl {
    /// The address of one ticket.
    pub(crate) fn of(&self, ticket: &Ticket) -> Url {
        let name = ticket.as_str().replace(':', "%3A").replace('/', "%2F").replace('#', "%23");
        let path = self.0.path().replace("%7Bticket%7D", &name).replace(HERE, &name);
        let mut url = self.0.clone();
        url.set_path(&path);
        url
    }

    /// The address, with the place for a ticket in it.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

/// How a ticket stands, by somebody's word; none where there is no such ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: Option<String>,
    pub(crate) at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_stays_one_part_of_the_address() {
        let url: TicketUrl =
            "https://tracker.example.com/a%20b/{ticket}/x?fields=state".parse().unwrap();
        for (ticket, path) in
            [("OPS-12", "/a%20b/OPS-12/x"), ("a/../b#7", "/a%20b/a%2F..%2Fb%237/x")]
        {
            let address = url.of(&Ticket::new(ticket).unwrap());
            assert_eq!(address.path(), path);
            assert_eq!(
                (address.host_str(), address.query()),
                (Some("tracker.example.com"), Some("fields=state"))
            );
            assert_eq!(address.path_segments().unwrap().count(), 3);
        }
    }

    #[test]
    fn an_address_without_a_place_for_the_ticket_is_refused() {
        for text in [
            "",
            "https://tracker.example.com/",
            "https://tracker.example.com/x-{ticket}",
            "https://tracker.example.com/{ticket}/{ticket}",
            "file:///{ticket}",
            "https://alice:secret@tracker.example.com/{ticket}",
            "https://tracker.example.com/?q={ticket}",
        ] {
            assert!(text.parse::<TicketUrl>().is_err(), "{text}");
        }
    }
}
