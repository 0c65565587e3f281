//! Texts that people give.

use crate::model::error::Refusal;
use crate::platform::sanitize::is_odd;

/// Refuses what is too long, or could pass for something else where it is shown.
pub(crate) fn check_text(what: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.len() > most {
        return Err(Refusal::Invalid(format!("{what} has at most {most} bytes")));
    }
    if text.chars().any(is_odd) {
        return Err(Refusal::Invalid(format!("{what} can't hold control characters")));
    }
    Ok(())
}
