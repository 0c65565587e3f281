//! Programs that prove who they are by a token of an issuer.

use std::collections::BTreeMap;

use policies::{DeviceId, Ttl, WORKLOAD_DEVICE};
use serde_json::Value;
use thiserror::Error;

use crate::model::issuer_url::IssuerUrl;

/// Whose token stands for a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Who signs its tokens.
    pub issuer: IssuerUrl,
    /// Whom its tokens are for: this gateway, by the name that its issuer has.
    pub audience: String,
    /// What its tokens say. There is at least one claim.
    pub claims: BTreeMap<String, Pattern>,
    /// How long its certificates last.
    pub certificate_ttl: Ttl,
}

/// What a claim has to be: a text, or one of those that begin with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Shape);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Exact(String),
    Below(String),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a `*` stands only at the end, behind a `:` or a `/`")]
pub struct PatternError;

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    /// `repo:acme/shop:*` is all that begins with `repo:acme/shop:`, and everything else is itself.
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let Some(begin) = text.strip_suffix('*') else {
            return if text.contains('*') {
                Err(PatternError)
            } else {
                Ok(Self(Shape::Exact(text.to_owned())))
            };
        };
        let bounded = begin.len() > 1 && begin.ends_with([':', '/']) && !begin.contains('*');
        if bounded { Ok(Self(Shape::Below(begin.to_owned()))) } else { Err(PatternError) }
    }
}

impl Pattern {
    pub(crate) fn fits(&self, claim: &Value) -> bool {
        let Some(text) = claim.as_str() else { return false };
        match &self.0 {
            Shape::Exact(wanted) => text == wanted,
            Shape::Below(begin) => text.len() > begin.len() && text.starts_with(begin.as_str()),
        }
    }
}

/// Whether a device's name is one that only workloads have.
pub(crate) fn is_reserved(device: &DeviceId) -> bool {
    device.as_str().starts_with(WORKLOAD_DEVICE)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("repo:example/shop", json!("repo:example/shop"), true)]
    #[case("repo:example/shop", json!("repo:example/shop2"), false)]
    #[case("repo:example/shop", json!("Repo:example/shop"), false)]
    #[case("repo:example/shop:*", json!("repo:example/shop:ref:refs/heads/main"), true)]
    #[case("repo:example/shop:*", json!("repo:example/shop:"), false)]
    #[case("repo:example/shop:*", json!("repo:example/shop-evil:ref"), false)]
    #[case("repo:example/*", json!("repo:example/shop"), true)]
    #[case("repo:example/*", json!("repo:example.org/shop"), false)]
    #[case("1", json!(1), false)]
    #[case("a", json!(["a"]), false)]
    fn a_claim_is_the_text_or_begins_with_it(
        #[case] pattern: &str,
        #[case] claim: Value,
        #[case] expected: bool,
    ) {
        assert_eq!(pattern.parse::<Pattern>().unwrap().fits(&claim), expected);
    }

    #[test]
    fn a_pattern_that_could_mean_more_than_it_seems_to_is_none() {
        for text in ["*", ":*", "/*", "a*", "repo:*:main", "repo:**", "*:main", "a:*/*"] {
            assert_eq!(text.parse::<Pattern>(), Err(PatternError), "{text}");
        }
    }
}
