//! What the rules ask for, and whether a grant is still covered by it.

use policies::{Facts, Grant, Resource, Terms};

use crate::access::load::stored;
use crate::kernel::state::Transaction;
use crate::model::actor::Asker;
use crate::model::error::{ControlError, Rejection};

/// What it takes to have all of this: the strictest of what each takes.
pub(crate) fn terms_of(
    tx: &Transaction,
    asker: &Asker,
    all: &[Resource],
    facts: &Facts,
) -> Result<Terms, Rejection> {
    let evaluate = |resource| tx.inventory.evaluate(&asker.principal, resource, facts);
    let each = all.iter().map(|resource| evaluate(resource).map(|(_, terms)| terms));
    let mut sum: Option<Terms> = None;
    for terms in each {
        let terms = terms?;
        sum = Some(match sum {
            Some(sum) => sum.and(terms),
            None => terms,
        });
    }
    Ok(sum.unwrap_or_default())
}

/// Whether a grant would be given again, under these facts: by which terms.
pub(crate) async fn covers(
    tx: &mut Transaction,
    grant: &Grant,
    facts: &Facts,
) -> Result<Terms, ControlError> {
    let request = stored(tx, &grant.request).await?.request;
    let terms = tx.inventory.still_gives(&request, grant, facts)?;
    if terms.record.is_subset(&grant.record) {
        return Ok(terms);
    }
    let wanted: Vec<&str> = terms.record.iter().map(|record| record.word()).collect();
    Err(Rejection::NotCovered(format!("recordings with {}", wanted.join(", "))).into())
}
