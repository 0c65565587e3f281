//! The log of the process, on standard error: for people, or one JSON object a line.
//!
//! The filter is `POSTERN_LOG`, or else what the configuration says.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

const VARIABLE: &str = "POSTERN_LOG";

/// Starts the log. Where one was started already, that one stays.
pub fn start(format: LogFormat, filter: &str) {
    let wanted = std::env::var(VARIABLE).ok();
    let wanted = wanted.and_then(|wanted| EnvFilter::try_new(wanted).ok());
    let filter = wanted.unwrap_or_else(|| EnvFilter::new(filter));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second call comes from a test in the same process.
    let _ = match format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().finish().try_init(),
    };
}

/// An error with all its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut told: Vec<String> = causes.map(ToString::to_string).collect();
    told.dedup();
    told.join(": ")
}
