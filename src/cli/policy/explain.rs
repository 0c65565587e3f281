//! `postern policy explain`: why somebody can have something or can't, and what would change it.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use policies::{
    Act, Explanation, Facts, Inquiry, PrincipalId, Resource, Risk, StepUpKind, Ticket, Ttl, Verdict,
};
use serde_json::json;

use super::{ContextArgs, now};
use crate::cli::explain::Explained;
use crate::cli::{Failure, Shape, show};
use crate::policy::cases::step_up;
use crate::policy::{Folder, PolicyContext};

/// Say in plain words whether somebody can have something, and what it takes
///
/// Exit codes: 0 where it can be had, 4 where it is denied, 2 where something can't be read.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Who asks: a person or workload of the configuration
    who: PrincipalId,
    /// What is asked for, such as app_rw@orders or app_rw@orders/reporting
    resource: Resource,
    /// When, such as 2026-11-20T19:00 by the organisation's clock; without, now
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
    /// Where the connection comes from
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// For how long, such as 2h
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Ttl>,
    /// The ticket that is named
    #[arg(long)]
    ticket: Option<Ticket>,
    /// How the ticket stands
    #[arg(long, value_name = "STATE")]
    ticket_state: Option<String>,
    /// The reason that is given
    #[arg(long, default_value = "")]
    reason: String,
    /// It is an emergency
    #[arg(long)]
    break_glass: bool,
    /// They are on call
    #[arg(long)]
    on_call: bool,
    /// Their last step-up and its age, such as "passkey 30s"
    #[arg(long, value_name = "STEP-UP", value_parser = step_up)]
    touched: Option<(StepUpKind, Ttl)>,
    /// They have never come from this network
    #[arg(long)]
    new_network: bool,
    /// They have never come with this device
    #[arg(long)]
    new_device: bool,
    /// How often somebody failed lately in their name
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    failed_attempts: u32,
    /// The folder of the rules; without, the configuration's
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    shape: Shape,
}

impl Explain {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (folder, context) = self.context.rules(self.policies.as_deref())?;
        let explanation = self.explain(&folder, &context)?;
        show(self.shape, &json!(explanation), || Ok(Explained::from(&explanation).text()))?;
        match explanation.verdict {
            Verdict::Free | Verdict::Takes => Ok(()),
            Verdict::Denied => Err(Failure::Denied("that is denied".into())),
        }
    }

    fn explain(&self, folder: &Folder, context: &PolicyContext) -> Result<Explanation, Failure> {
        let clock = |now| context.local(now);
        let inquiry = Inquiry { book: &folder.book, directory: &context.directory, clock: &clock };
        let facts = self.facts(context)?;
        let explained = inquiry.explain(&self.who, &self.resource, facts);
        explained.map_err(|error| Failure::NotFound(error.to_string()))
    }

    fn facts(&self, context: &PolicyContext) -> Result<Facts, Failure> {
        let at = self.at.as_deref().map(|at| context.moment(at)).transpose();
        let now = at.map_err(Failure::Usage)?.unwrap_or_else(now);
        Ok(Facts {
            local: context.local(now),
            act: if self.break_glass { Act::BreakGlass } else { Act::Connect },
            step_up: self.touched,
            ticket: self.ticket.clone(),
            ticket_state: self.ticket_state.clone(),
            reason: self.reason.clone(),
            ttl: self.span,
            on_call: self.on_call,
            risk: Risk {
                new_network: self.new_network,
                new_device: self.new_device,
                failed_attempts: self.failed_attempts,
            },
            ..Facts::new(now, self.from)
        })
    }
}
