//! Whether people can sign in with each issuer: it is asked what it publishes, as a sign-in would.

use control::{Inventory, Issuer};
use tokio::task::JoinSet;

use super::Finding;

/// Looks at all issuers at once: one that hangs doesn't keep the others waiting.
pub(super) async fn issuers(inventory: &Inventory, base: &str) -> Vec<Finding> {
    let mut looks = JoinSet::new();
    for (nth, issuer) in inventory.issuers.values().cloned().enumerate() {
        let base = base.to_owned();
        looks.spawn(async move { (nth, look(&issuer, &base).await) });
    }
    let mut found = looks.join_all().await;
    found.sort_by_key(|(nth, _)| *nth);
    found.into_iter().flat_map(|(_, findings)| findings).collect()
}

async fn look(issuer: &Issuer, base: &str) -> Vec<Finding> {
    let title = format!("issuer {}", issuer.name);
    let probe = match issuer.probe().await {
        Ok(probe) => probe,
        Err(error) => {
            let remedy = "write `url` as the issuer calls itself, let this machine reach it, and name \
                          its own authority's certificates, where it has one, by `ca`";
            return vec![Finding::fault(title, crate::telemetry::chain(&error), remedy)];
        }
    };
    let callback = format!("{base}/oidc/{}/callback", issuer.name);
    let there = format!("{} answers; it has to know `{callback}` as our redirect", issuer.url);
    let doubts = probe.doubts.into_iter().map(|doubt| {
        let remedy = "see what the issuer can be set to; SECURITY.md says what is lost without it";
        Finding::warning(title.clone(), doubt, remedy)
    });
    std::iter::once(Finding::ok(title.clone(), there)).chain(doubts).collect()
}
