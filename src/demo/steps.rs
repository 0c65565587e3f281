//! The steps of the demo, each of them checked: refused, asked, approved, rows, recorded, expired in
//! the middle of a statement, refused again; and then a host: a command, a file, both recorded, cut.

use serde_json::Value;

use super::DemoError;
use super::command_line::{CommandLine, Ended, say};
use super::sandbox::Sandbox;
use crate::terminal::Paint;

const ROWS: &str = "select name, price from items order by id limit 3";
const SLEEP: &str = "select pg_sleep(60)";
const HOST: &str = "deploy@web-1.postern";

/// Runs them all.
///
/// # Errors
/// The first step that failed.
pub(super) async fn run(sandbox: &Sandbox) -> Result<(), DemoError> {
    refused(sandbox, "Without a grant nobody gets through").await?;
    asked_and_approved(sandbox).await?;
    recorded(sandbox).await?;
    given_back(sandbox).await?;
    expired(sandbox).await?;
    refused(sandbox, "After that it is closed again").await?;
    commanded(sandbox).await?;
    fetched(sandbox).await?;
    cut_off(sandbox).await?;
    say(&Paint::for_stdout().good("\nAll steps passed."));
    Ok(())
}

/// A program that nobody types into gets its refusal at once.
async fn refused(sandbox: &Sandbox, title: &str) -> Result<(), DemoError> {
    let step = begin(title);
    let psql =
        CommandLine::psql(sandbox, Some(&sandbox.alice), "user=app_rw", "select 1").unattended();
    let ended = psql.run().await?;
    step.code(&ended, 2)?;
    step.holds("a refusal", &ended.errors, "FATAL:")?;
    step.holds("what to do about it", &ended.errors, "postern request app_rw@orders")?;
    step.holds("no rows", if ended.output.is_empty() { "none" } else { &ended.output }, "none")?;
    step.passed("refused, with what to do about it");
    Ok(())
}

/// Opening the connection is the request: it waits for its person, and then for an approver.
async fn asked_and_approved(sandbox: &Sandbox) -> Result<(), DemoError> {
    let step = begin("Opening the connection is the request");
    let mut psql = CommandLine::psql(sandbox, None, "user=app_rw", ROWS).start()?;
    let code = psql.hears(&step.title, "confirm code ").await?;
    let code = first_word(&code);
    let confirmed =
        CommandLine::postern(&sandbox.alice, &["confirm", code, "--yes"])?.run().await?;
    step.code(&confirmed, 0)?;
    step.holds("what Alice confirms", &confirmed.errors, "app_rw@orders/shop")?;
    psql.hears(&step.title, "confirmed by ").await?;
    let request = psql.hears(&step.title, " as rq-").await?;
    let request = format!("rq-{}", first_word(&request));
    step.passed("the connection waits");

    let approved =
        CommandLine::postern(&sandbox.bob, &["approve", &request, "--yes"])?.run().await?;
    step.code(&approved, 0)?;
    step.holds("what Bob approves", &approved.errors, "app_rw@orders/shop")?;
    psql.hears(&step.title, "approved by ").await?;
    let ended = psql.end().await?;
    step.code(&ended, 0)?;
    for wanted in ["lantern", "rope, 20 m", "(3 rows)"] {
        step.holds("rows of the shop", &ended.output, wanted)?;
    }
    step.passed("it goes on by itself, and there are rows");
    Ok(())
}

async fn recorded(sandbox: &Sandbox) -> Result<(), DemoError> {
    let step = begin("What was done is in the recording");
    let replayed = newest(sandbox, &step).await?;
    for wanted in [ROWS, "SELECT 3: 3 rows", "Alice (alice) as app_rw@orders/shop"] {
        step.holds("the statement and who ran it", &replayed, wanted)?;
    }
    step.passed("the statement, its rows and its person");
    Ok(())
}

async fn given_back(sandbox: &Sandbox) -> Result<(), DemoError> {
    let step = begin("Alice gives the grant back");
    let done = CommandLine::postern(&sandbox.alice, &["done"])?.run().await?;
    step.code(&done, 0)?;
    step.passed("nothing is left open");
    Ok(())
}

/// The clock of a grant starts at its first use, and ends it in the middle of a statement.
async fn expired(sandbox: &Sandbox) -> Result<(), DemoError> {
    let step = begin("A grant ends in the middle of a statement");
    let options = "user=app_rw options='-c postern.for=2s'";
    let mut psql = CommandLine::psql(sandbox, Some(&sandbox.alice), options, SLEEP).start()?;
    let request = psql.hears(&step.title, " as rq-").await?;
    let request = format!("rq-{}", first_word(&request));
    let approved =
        CommandLine::postern(&sandbox.bob, &["approve", &request, "--yes"])?.run().await?;
    step.code(&approved, 0)?;
    psql.hears(&step.title, "approved by ").await?;
    let ended = psql.end().await?;
    step.code(&ended, 2)?;
    step.holds("the end of the session", &ended.errors, "FATAL:  57P01: ")?;
    step.holds("its reason", &ended.errors, "expired")?;
    step.passed("cut after two seconds");
    Ok(())
}

/// The same for a host, with stock ssh: here the rules say yes by themselves.
async fn commanded(sandbox: &Sandbox) -> Result<(), DemoError> {
    let step = begin("A host, with stock ssh");
    let ran =
        CommandLine::ssh(sandbox, "ssh", &[HOST, "echo lantern > stock; cat stock"]).run().await?;
    step.code(&ran, 0)?;
    step.holds("what the command printed", &ran.output, "lantern")?;
    let replayed = newest(sandbox, &step).await?;
    step.holds("the command", &replayed, "echo lantern > stock")?;
    step.passed("the command ran, and is in the recording");
    Ok(())
}

async fn fetched(sandbox: &Sandbox) -> Result<(), DemoError> {
    let step = begin("A file, with stock sftp");
    let source = format!("{HOST}:stock");
    let got = CommandLine::ssh(sandbox, "sftp", &[&source, "fetched"]).run().await?;
    step.code(&got, 0)?;
    let fetched = std::fs::read_to_string(sandbox.folder().join("fetched"));
    let fetched = fetched.map_err(DemoError::io("read the file that was fetched"))?;
    step.holds("what is in the file", &fetched, "lantern")?;
    let replayed = newest(sandbox, &step).await?;
    step.holds("the file", &replayed, "stock")?;
    step.passed("the file is here, and its digest is in the recording");
    Ok(())
}

async fn cut_off(sandbox: &Sandbox) -> Result<(), DemoError> {
    let step = begin("Giving the grant back ends what runs under it");
    let mut ssh = CommandLine::ssh(sandbox, "ssh", &[HOST, "echo begun >&2; sleep 60"]).start()?;
    ssh.hears(&step.title, "begun").await?;
    let done = CommandLine::postern(&sandbox.alice, &["done"])?.run().await?;
    step.code(&done, 0)?;
    let ended = ssh.end().await?;
    step.code(&ended, 255)?;
    step.holds("why", &ended.errors, "the grant was given back")?;
    step.passed("cut in the middle, and the client read why");
    Ok(())
}

/// The recording of the newest session.
async fn newest(sandbox: &Sandbox, step: &Step) -> Result<String, DemoError> {
    let listed =
        CommandLine::postern(&sandbox.bob, &["sessions", "--all", "--json"])?.quietly().await?;
    let sessions: Value = serde_json::from_str(&listed).unwrap_or_default();
    let newest = sessions.get(0).and_then(|session| session.get("id")?.as_str());
    let newest = newest.ok_or_else(|| step.failure("a session", &listed))?;
    let replayed = CommandLine::postern(&sandbox.bob, &["replay", newest])?.run().await?;
    step.code(&replayed, 0)?;
    Ok(replayed.output)
}

/// Up to the next space or punctuation; ids and codes hold neither.
fn first_word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// One step.
struct Step {
    title: String,
}

fn begin(title: &str) -> Step {
    say(&format!("\n{}", Paint::for_stdout().bold(title)));
    Step { title: title.to_owned() }
}

impl Step {
    fn holds(&self, what: &str, text: &str, wanted: &str) -> Result<(), DemoError> {
        if text.contains(wanted) {
            Ok(())
        } else {
            Err(self.failure(&format!("{what}, with {wanted:?}"), text))
        }
    }

    fn code(&self, ended: &Ended, wanted: i32) -> Result<(), DemoError> {
        if ended.code == Some(wanted) {
            return Ok(());
        }
        let came = format!("{:?}, {:?}", ended.code, ended.errors);
        Err(self.failure(&format!("exit code {wanted}"), &came))
    }

    fn failure(&self, expected: &str, came: &str) -> DemoError {
        let (step, expected, came) = (self.title.clone(), expected.into(), came.into());
        DemoError::Step { step, expected, came }
    }

    fn passed(&self, what: &str) {
        let paint = Paint::for_stdout();
        say(&format!("  {} {what}", paint.good("✓")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_ends_at_its_punctuation() {
        for (text, word) in
            [("KXQT-7M4P at http://a", "KXQT-7M4P"), ("abc234: needs 1 of dba", "abc234"), ("", "")]
        {
            assert_eq!(first_word(text), word);
        }
    }
}
