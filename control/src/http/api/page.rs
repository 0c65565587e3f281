//! Lists come in pages: a cursor that means nothing to its reader, and at most 200 items.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Kind, Problem};
use crate::model::view::{Page, Paging, Scope};

const LIMIT_MAX: u32 = 200;

/// One page of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed<T> {
    items: Vec<T>,
    /// The cursor of the next page; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<T> Listed<T> {
    pub(crate) fn of<'v, V>(page: &'v Page<V>) -> Self
    where
        T: From<&'v V>,
    {
        Self { items: page.items.iter().map(T::from).collect(), next: page.next.map(written) }
    }
}

/// Which of a list of things that are good for a while is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lasting {
    /// Whose: `mine` (the default), `inbox` (those that one may decide on) or `all`.
    scope: Option<String>,
    /// Only those that can be used, or only those that are over.
    live: Option<bool>,
    cursor: Option<String>,
    /// At most 200.
    limit: Option<u32>,
}

impl Lasting {
    /// # Errors
    /// Where it names no scope, or a page that isn't there.
    pub(crate) fn read(&self) -> Result<(Scope, Option<bool>, Paging), Problem> {
        let scope = scope(self.scope.as_deref())?;
        Ok((scope, self.live, paging(self.cursor.as_deref(), self.limit)?))
    }
}

/// The page that a query asks for.
///
/// # Errors
/// Where the cursor is none of ours, or the limit is out of bounds.
pub(crate) fn paging(cursor: Option<&str>, limit: Option<u32>) -> Result<Paging, Problem> {
    if limit.is_some_and(|limit| !(1..=LIMIT_MAX).contains(&limit)) {
        let detail = format!("`limit` is 1 to {LIMIT_MAX}");
        return Err(Problem::new(Kind::Invalid, detail));
    }
    let read =
        |text| read(text).ok_or_else(|| Problem::new(Kind::Invalid, "`cursor` is none of ours"));
    let cursor = cursor.map(read).transpose()?;
    Ok(Paging { cursor, limit })
}

fn written(next: i64) -> String {
    URL_SAFE_NO_PAD.encode(next.to_be_bytes())
}

fn read(text: &str) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

/// The scope of this name; one's own where none is named.
pub(crate) fn scope(name: Option<&str>) -> Result<Scope, Problem> {
    let scope = name.map(str::parse).transpose();
    Ok(scope.map_err(super::error::invalid)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back(next: i64) {
            prop_assert_eq!(read(&written(next)), Some(next));
        }

        #[test]
        fn no_cursor_panics(text in ".{0,40}") {
            let _ = paging(Some(&text), None);
        }
    }

    #[test]
    fn limits_are_bounded() {
        for (limit, fits) in [(0, false), (1, true), (200, true), (201, false)] {
            assert_eq!(paging(None, Some(limit)).is_ok(), fits, "{limit}");
        }
    }
}
