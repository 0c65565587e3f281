//! How the receivers of channels are connected to.

use policies::Ttl;

use crate::platform::outbound::Reach;

/// How a hook is connected to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Whether private addresses may be connected to.
    pub reach: Reach,
    /// How long one try may take.
    pub timeout: Ttl,
    /// What certificates to trust instead of the machine's, in PEM.
    pub roots: Option<&'a str>,
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let more = one.to_string();
        if !message.contains(&more) {
            message = format!("{message}: {more}");
        }
        cause = one.source();
    }
    crate::platform::sanitize::clip(&message, 300)
}
