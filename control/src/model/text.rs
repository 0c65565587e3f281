//! Texts that people give.

use crate::model::error::ControlError;

/// Refuses what is too long, or could pass for something else where it is shown.
pub(crate) fn check_text(what: &str, text: &str, most: usize) -> Result<(), ControlError> {
    let odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if text.len() > most {
        return Err(ControlError::Invalid(format!("{what} has at most {most} bytes")));
    }
    if text.chars().any(odd) {
        return Err(ControlError::Invalid(format!("{what} can't hold control characters")));
    }
    Ok(())
}
