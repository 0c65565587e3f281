//! An issuer of the configuration: how it is asked, and what its words mean here.

use std::collections::BTreeSet;

use policies::GroupName;
use serde_json::{Map, Value};

use crate::identity::issuers::{Issuers, Trust};
use crate::model::error::ControlError;
use crate::model::issuer::Issuer;
use crate::platform::clock::Clock;
use crate::platform::http_client::HttpError;

/// More groups of one person are a mistake.
const MOST_GROUPS: usize = 2_000;

/// What an issuer answers to a look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What keeps people from signing in, or is weaker than it should be.
    pub doubts: Vec<&'static str>,
}

impl Issuer {
    /// What the issuer's groups are called here; those that mean nothing here are left out.
    pub(crate) fn groups_of(&self, said: &[String]) -> BTreeSet<GroupName> {
        let ours = |name: &String| match &self.groups {
            Some(named) => named.get(name).cloned(),
            None => GroupName::new(name).ok(),
        };
        said.iter().filter_map(ours).collect()
    }

    /// The groups that claims name. Where they come from what holds groups, saying nothing says that
    /// there are none; where they don't, it says nothing.
    ///
    /// # Errors
    /// Where they speak of something that isn't a list of names.
    pub(crate) fn groups_in(
        &self,
        claims: &Map<String, Value>,
        held: bool,
    ) -> Result<Option<Vec<String>>, NotGroups> {
        match claims.get(&self.groups_claim) {
            None | Some(Value::Null) => Ok(held.then(Vec::new)),
            Some(Value::String(one)) => Ok(Some(vec![one.clone()])),
            Some(Value::Array(several)) if several.len() <= MOST_GROUPS => {
                let texts = several.iter().map(|name| name.as_str().map(str::to_owned));
                texts.collect::<Option<Vec<_>>>().map(Some).ok_or(NotGroups)
            }
            Some(_) => Err(NotGroups),
        }
    }

    /// Looks at the issuer as a sign-in would.
    ///
    /// # Errors
    /// Where it can't be reached, or says what must not be believed.
    pub async fn probe(&self) -> Result<Probe, ControlError> {
        let issuers = Issuers::new(Clock::system())?;
        issuers.trust_by(trust(&Trust::default(), [self])?);
        let metadata = issuers.metadata(&self.url).await?;
        let methods = metadata.code_challenge_methods_supported.as_deref();
        let s256 = methods.is_some_and(|all| all.iter().any(|one| one == "S256"));
        let doubts = [
            (
                metadata.authorization_endpoint.is_none() || metadata.token_endpoint.is_none(),
                "it has no endpoints for people to sign in",
            ),
            (!s256, "it doesn't say that it knows PKCE with S256"),
            (
                !metadata.authorization_response_iss_parameter_supported,
                "its answers don't say whom they are from (RFC 9207)",
            ),
            (
                !metadata.backchannel_logout_supported,
                "it doesn't tell of logouts: they take effect at the next refresh",
            ),
            (
                self.userinfo && metadata.userinfo_endpoint.is_none(),
                "it has no userinfo endpoint, which `userinfo = true` wants",
            ),
        ];
        let doubts = doubts.into_iter().filter(|(holds, _)| *holds).map(|(_, doubt)| doubt);
        Ok(Probe { doubts: doubts.collect() })
    }
}

/// The trust that these issuers want, made of the one before.
pub(super) fn trust<'a>(
    before: &Trust,
    issuers: impl IntoIterator<Item = &'a Issuer>,
) -> Result<Trust, HttpError> {
    let own = issuers.into_iter().filter_map(|one| Some((&one.url, one.ca.as_deref()?)));
    before.next(own)
}

/// A claim of groups that isn't a list of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotGroups;

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use policies::Ttl;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    pub(in crate::identity::oidc) fn issuer() -> Issuer {
        Issuer {
            name: "corp".parse().unwrap(),
            url: "https://login.example.com".parse().unwrap(),
            client_id: "postern".into(),
            client_secret: None,
            ca: None,
            scopes: Vec::new(),
            groups_claim: "groups".into(),
            groups: None,
            admins: BTreeSet::new(),
            auditors: BTreeSet::new(),
            userinfo: false,
            refresh: Ttl::from_secs(300),
            refresh_grace: Ttl::from_secs(3_600),
        }
    }

    #[rstest]
    #[case(json!({}), true, Ok(Some(vec![])))]
    #[case(json!({ "groups": null }), true, Ok(Some(vec![])))]
    #[case(json!({}), false, Ok(None))]
    #[case(json!({ "groups": null }), false, Ok(None))]
    #[case(json!({ "groups": [] }), false, Ok(Some(vec![])))]
    #[case(json!({ "groups": "dba" }), true, Ok(Some(vec!["dba"])))]
    #[case(json!({ "groups": ["dba", "leads"] }), false, Ok(Some(vec!["dba", "leads"])))]
    #[case(json!({ "groups": ["dba", 7] }), true, Err(NotGroups))]
    #[case(json!({ "groups": { "dba": true } }), true, Err(NotGroups))]
    #[case(json!({ "groups": true }), false, Err(NotGroups))]
    fn groups_are_a_list_of_names_or_nothing_is_believed(
        #[case] claims: Value,
        #[case] held: bool,
        #[case] wanted: Result<Option<Vec<&str>>, NotGroups>,
    ) {
        let claims = claims.as_object().unwrap();
        let wanted = wanted
            .map(|some| some.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>()));
        assert_eq!(issuer().groups_in(claims, held), wanted);
    }

    #[test]
    fn a_mapping_names_the_groups_that_count() {
        let mut issuer = issuer();
        let said = ["idp-dba".to_owned(), "idp-other".to_owned(), "admin ".to_owned()];
        let same: Vec<_> = issuer.groups_of(&said).into_iter().map(String::from).collect();
        assert_eq!(same, ["idp-dba", "idp-other"]);
        let dba = GroupName::new("dba").unwrap();
        issuer.groups = Some(BTreeMap::from([("idp-dba".to_owned(), dba.clone())]));
        assert_eq!(issuer.groups_of(&said), BTreeSet::from([dba]));
    }
}
