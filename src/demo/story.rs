//! The story, step by step, each step checked: refused, asked, approved, rows, recorded, expired in
//! the middle of a statement, refused again; and then a host: a command, a file, both recorded, cut.

use serde_json::Value;

use super::DemoError;
use super::player::{Ended, Play, say};
use super::scene::Scene;
use crate::terminal::Paint;

const ROWS: &str = "select name, price from items order by id limit 3";
const SLEEP: &str = "select pg_sleep(60)";
const HOST: &str = "deploy@web-1.postern";

/// Plays it all.
///
/// # Errors
/// The first step that isn't as told.
pub(super) async fn play(scene: &Scene) -> Result<(), DemoError> {
    refused(scene, "Without a grant nobody gets through").await?;
    asked_and_approved(scene).await?;
    recorded(scene).await?;
    given_back(scene).await?;
    expired(scene).await?;
    refused(scene, "After that it is closed again").await?;
    commanded(scene).await?;
    fetched(scene).await?;
    cut_off(scene).await?;
    say(&Paint::for_stdout().good("\nEverything went as told."));
    Ok(())
}

/// A program that nobody types into gets its refusal at once.
async fn refused(scene: &Scene, title: &str) -> Result<(), DemoError> {
    let step = begin(title);
    let psql = Play::psql(scene, Some(&scene.alice), "user=app_rw", "select 1").unattended();
    let ended = psql.run().await?;
    step.code(&ended, 2)?;
    step.holds("a refusal", &ended.errors, "FATAL:")?;
    step.holds("what to do about it", &ended.errors, "postern request app_rw@orders")?;
    step.holds("no rows", if ended.output.is_empty() { "none" } else { &ended.output }, "none")?;
    step.passed("refused, with what to do about it");
    Ok(())
}

/// Opening the connection is the request: it waits for its person, and then for an approver.
async fn asked_and_approved(scene: &Scene) -> Result<(), DemoError> {
    let step = begin("Opening the connection is the request");
    let mut psql = Play::psql(scene, None, "user=app_rw", ROWS).start()?;
    let code = psql.hears(&step.title, "confirm code ").await?;
    let code = first_word(&code);
    let confirmed = Play::postern(&scene.alice, &["confirm", code, "--yes"])?.run().await?;
    step.code(&confirmed, 0)?;
    step.holds("what Alice confirms", &confirmed.errors, "app_rw@orders/shop")?;
    psql.hears(&step.title, "confirmed by ").await?;
    let request = psql.hears(&step.title, " as rq-").await?;
    let request = format!("rq-{}", first_word(&request));
    step.passed("the connection waits");

    let approved = Play::postern(&scene.bob, &["approve", &request, "--yes"])?.run().await?;
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

async fn recorded(scene: &Scene) -> Result<(), DemoError> {
    let step = begin("What was done is in the recording");
    let replayed = newest(scene, &step).await?;
    for wanted in [ROWS, "SELECT 3: 3 rows", "Alice (alice) as app_rw@orders/shop"] {
        step.holds("the statement and who ran it", &replayed, wanted)?;
    }
    step.passed("the statement, its rows and its person");
    Ok(())
}

async fn given_back(scene: &Scene) -> Result<(), DemoError> {
    let step = begin("Alice gives the grant back");
    let done = Play::postern(&scene.alice, &["done"])?.run().await?;
    step.code(&done, 0)?;
    step.passed("nothing is left open");
    Ok(())
}

/// The clock of a grant starts at its first use, and ends it in the middle of a statement.
async fn expired(scene: &Scene) -> Result<(), DemoError> {
    let step = begin("A grant ends in the middle of a statement");
    let wish = "user=app_rw options='-c postern.for=2s'";
    let mut psql = Play::psql(scene, Some(&scene.alice), wish, SLEEP).start()?;
    let request = psql.hears(&step.title, " as rq-").await?;
    let request = format!("rq-{}", first_word(&request));
    let approved = Play::postern(&scene.bob, &["approve", &request, "--yes"])?.run().await?;
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
async fn commanded(scene: &Scene) -> Result<(), DemoError> {
    let step = begin("A host, with stock ssh");
    let ran = Play::ssh(scene, "ssh", &[HOST, "echo lantern > stock; cat stock"]).run().await?;
    step.code(&ran, 0)?;
    step.holds("why it goes on", &ran.errors, "approved by the rules")?;
    step.holds("what the command printed", &ran.output, "lantern")?;
    let replayed = newest(scene, &step).await?;
    step.holds("the command", &replayed, "echo lantern > stock")?;
    step.passed("the command ran, and is in the recording");
    Ok(())
}

async fn fetched(scene: &Scene) -> Result<(), DemoError> {
    let step = begin("A file, with stock sftp");
    let source = format!("{HOST}:stock");
    let got = Play::ssh(scene, "sftp", &[&source, "fetched"]).run().await?;
    step.code(&got, 0)?;
    let fetched = std::fs::read_to_string(scene.folder().join("fetched"));
    let fetched = fetched.map_err(DemoError::io("read the file that was fetched"))?;
    step.holds("what is in the file", &fetched, "lantern")?;
    let replayed = newest(scene, &step).await?;
    step.holds("the file", &replayed, "stock")?;
    step.passed("the file is here, and its digest is in the recording");
    Ok(())
}

async fn cut_off(scene: &Scene) -> Result<(), DemoError> {
    let step = begin("Giving the grant back ends what runs under it");
    let mut ssh = Play::ssh(scene, "ssh", &[HOST, "echo begun >&2; sleep 60"]).start()?;
    ssh.hears(&step.title, "begun").await?;
    let done = Play::postern(&scene.alice, &["done"])?.run().await?;
    step.code(&done, 0)?;
    let ended = ssh.end().await?;
    step.code(&ended, 255)?;
    step.holds("why", &ended.errors, "the grant was given back")?;
    step.passed("cut in the middle, and told why");
    Ok(())
}

/// The recording of the newest session.
async fn newest(scene: &Scene, step: &Step) -> Result<String, DemoError> {
    let listed = Play::postern(&scene.bob, &["sessions", "--all", "--json"])?.quietly().await?;
    let sessions: Value = serde_json::from_str(&listed).unwrap_or_default();
    let newest = sessions.get(0).and_then(|session| session.get("id")?.as_str());
    let newest = newest.ok_or_else(|| step.failure("a session", &listed))?;
    let replayed = Play::postern(&scene.bob, &["replay", newest])?.run().await?;
    step.code(&replayed, 0)?;
    Ok(replayed.output)
}

/// Up to the next space or punctuation; ids and codes hold neither.
fn first_word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// One step of the story.
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
        DemoError::Story { step, expected, came }
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
