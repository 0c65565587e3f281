//! libpq 18, as a Python client brings it, which shows an access token where it is asked for one.

use super::{Bed, client, run};

/// What asks the gateway for `OAUTHBEARER`.
pub const OAUTH: &str = "options='-c postern.auth=oauth'";

/// Connects with an access token of this issuer, and tells what was asked for and what came of it.
pub async fn connect(bed: &Bed, issuer: &str, more: &str, token: &str) -> (bool, String) {
    let root = env!("CARGO_MANIFEST_DIR");
    let script = format!("{root}/tests/clients/oauth_journey.py");
    let mut command = client(&format!("{root}/.cache/venv/bin/python"), &[&script]);
    let conninfo = bed.token_conninfo("app_ro", "orders");
    let conninfo = format!("{conninfo} oauth_issuer={issuer} oauth_client_id=psql {more}");
    // An issuer on loopback has no TLS, which libpq takes only in tests.
    command.env("CONNINFO", conninfo).env("TOKEN", token).env("PGOAUTHDEBUG", "UNSAFE");
    let (done, out, errors) = run(command).await;
    (done, out + &errors)
}
