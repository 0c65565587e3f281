//! The lines to paste.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::sandbox::Sandbox;
use crate::client::Home;
use crate::terminal::Paint;

/// What a newcomer needs to play with the sandbox.
///
/// The links sign Alice's and Bob's browsers in.
pub(super) fn to_paste(sandbox: &Sandbox, links: &[SecretString; 2]) -> String {
    let paint = Paint::for_stdout();
    let program = program();
    let steps = [
        ("Open a connection as anybody. It waits, and shows a code:", held(sandbox)),
        (
            "Alice, an engineer, confirms in another terminal that it is hers; reading is free:",
            format!("{} {program} confirm CODE", home(&sandbox.alice)),
        ),
        (
            "Writing takes an approver. With Alice's certificate nobody has to confirm:",
            format!("{} psql \"service=orders user=app_rw\"", services(&sandbox.alice)),
        ),
        (
            "Bob sees what waits for him, and approves it:",
            format!(
                "{bob} {program} ls\n     {bob} {program} approve REQUEST",
                bob = home(&sandbox.bob)
            ),
        ),
        (
            "Bob sees who is connected, and what was done:",
            format!(
                "{bob} {program} sessions --all\n     {bob} {program} replay SESSION",
                bob = home(&sandbox.bob)
            ),
        ),
        (
            "Bob ends a grant, and the session is cut; or Alice gives it back:",
            format!(
                "{} {program} revoke GRANT --reason 'lunch'\n     {} {program} done",
                home(&sandbox.bob),
                home(&sandbox.alice)
            ),
        ),
        (
            "A host with stock ssh, and its files with sftp: every command and file is recorded:",
            format!(
                "ssh -F {config} deploy@web-1.postern\n     sftp -F {config} deploy@web-1.postern",
                config = quoted(&sandbox.ssh_config)
            ),
        ),
        (
            "A token, for clients with nothing but a password field:",
            format!("{} {program} token app_ro@orders --for 1h", home(&sandbox.alice)),
        ),
        ("The same in a browser, as Alice and, in a private window, as Bob; good once:", {
            let [alice, bob] = links;
            format!("{}   # Alice\n     {}   # Bob", alice.expose_secret(), bob.expose_secret())
        }),
    ];
    let mut text = format!(
        "\n{}\n\n",
        paint.bold("The gateway is up, with a shop database and a host behind it.")
    );
    for (place, (what, line)) in steps.iter().enumerate() {
        text += &format!("  {}. {what}\n     {}\n\n", place + 1, paint.command(line));
    }
    text + &places(sandbox, paint)
}

fn places(sandbox: &Sandbox, paint: Paint) -> String {
    let mut text = format!("  pages and API   {}\n", sandbox.gateway.api_url());
    if let Some(metrics) = sandbox.gateway.metrics_addr() {
        text += &format!("  metrics         http://{metrics}/metrics\n");
    }
    let folder = sandbox.folder().display();
    text += &format!("  folder          {folder}  (configuration, policy, recordings)\n\n");
    text + &paint.dim("Ctrl-C ends it and removes everything.") + "\n"
}

/// psql without any proof of who it is.
fn held(sandbox: &Sandbox) -> String {
    let port = sandbox.postgres.port();
    let authority = sandbox.alice.authority();
    format!(
        "psql \"host=localhost port={port} dbname=orders user=app_ro sslmode=verify-full sslrootcert={}\"",
        authority.display()
    )
}

fn home(home: &Home) -> String {
    format!("POSTERN_HOME={}", quoted(home.folder()))
}

fn services(home: &Home) -> String {
    format!("PGSERVICEFILE={}", quoted(&home.services()))
}

fn program() -> String {
    std::env::current_exe().map_or_else(|_| "postern".into(), |path| quoted(&path))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let simple = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    if text.chars().all(simple) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new("/tmp/a-b.c")), "/tmp/a-b.c");
        assert_eq!(quoted(Path::new("/tmp/a b")), "'/tmp/a b'");
        assert_eq!(quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
