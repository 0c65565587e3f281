//! Reviews of emergencies: `reviews`, and `reviews sign`.

use clap::{Args, Subcommand};
use policies::ReviewId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, Shape, client, read, read_all, show};
use crate::terminal::{self, moment, plain};

/// How many are shown.
const MOST: usize = 200;

/// List the reviews of emergencies that wait for somebody to look, or sign one
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Reviews {
    #[command(subcommand)]
    command: Option<ReviewsCommand>,
    /// Those that are signed too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Subcommand)]
enum ReviewsCommand {
    Sign(Sign),
}

/// Sign that you have looked at what was done, once the grant has ended
#[derive(Debug, Args)]
struct Sign {
    /// The review
    id: ReviewId,
    /// What you found; it stays with the review
    #[arg(long)]
    note: String,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Deserialize)]
struct Review {
    id: String,
    name: String,
    resource: String,
    reason: String,
    grant: String,
    opened_at: String,
    state: String,
    signed_by: Option<String>,
}

impl Reviews {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if let Some(ReviewsCommand::Sign(sign)) = self.command {
            return sign.run().await;
        }
        let all = if self.all { "true" } else { "false" };
        let reviews = client()?.list(&["reviews"], &[("all", all)], MOST).await?;
        show(self.shape, &Value::from(reviews.clone()), || {
            let reviews: Vec<Review> = read_all(&reviews)?;
            if reviews.is_empty() {
                return Ok("nothing waits for review\n".into());
            }
            let rows: Vec<_> = reviews.iter().map(Review::row).collect();
            let header = ["review", "who", "what", "why", "grant", "since", "state"];
            Ok(terminal::table(&header, &rows))
        })
    }
}

impl Review {
    fn row(&self) -> Vec<String> {
        let by = self.signed_by.as_ref().map(|by| format!(" by {by}"));
        vec![
            self.id.clone(),
            self.name.clone(),
            self.resource.clone(),
            self.reason.clone(),
            self.grant.clone(),
            moment(&self.opened_at),
            self.state.clone() + &by.unwrap_or_default(),
        ]
    }
}

impl Sign {
    async fn run(self) -> Result<(), Failure> {
        let path = ["reviews", self.id.as_str(), "sign"];
        let answer = client()?.post(&path, &json!({ "note": self.note }), None).await?;
        show(self.shape, &answer, || {
            let review: Review = read(&answer)?;
            Ok(format!("{} is signed\n", plain(&review.id)))
        })
    }
}
