//! Whether messages reach people: each channel is connected to as for a message, and none is sent.

use control::Inventory;
use tokio::task::JoinSet;

use super::Finding;

/// Looks at every channel, all at once.
pub(super) async fn channels(inventory: &Inventory, our_host: &str) -> Vec<Finding> {
    let mut probes = JoinSet::new();
    for channel in inventory.channels.values().cloned() {
        let our_host = our_host.to_owned();
        probes.spawn(async move { (channel.name.clone(), channel.probe(&our_host).await) });
    }
    let mut found = probes.join_all().await;
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let findings = found.into_iter().map(|(name, probed)| {
        let title = format!("channel {name}");
        match probed {
            Ok(message) => Finding::ok(title, message),
            Err(why) => {
                let remedy = "let this machine reach it, or fix its section in [notify]";
                Finding::fault(title, why, remedy)
            }
        }
    });
    findings.collect()
}
