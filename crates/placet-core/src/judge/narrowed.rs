//! The parameters that are sent where rules let fewer rows come back than were asked for (DESIGN §4 `shape` "narrows the
//! request where the service can filter upstream").
//!
//! Invariant: nothing but the one number of rows differs from what was asked, and never upwards. What comes back is
//! shaped all the same: upstream is asked for less, and not relied on.

use super::Judgement;
use crate::{decimal::Decimal, service::ServiceAction};
use serde_json::{Map, Value};

/// The parameters as they are to be sent. `None` where that is as they were asked: the service has no such parameter, no
/// rule says how many, so many were not asked for, or so few can't be. Where a rule drops rows by what they say, its maximum
/// is of those that are left, and asking for fewer would be answering with fewer than it lets through.
pub fn narrowed(
    judgement: &Judgement,
    declared: &ServiceAction,
    params: &Map<String, Value>,
) -> Option<Map<String, Value>> {
    let limit = declared.row_limit()?;
    let mut most: Option<usize> = None;
    for rows in judgement.shapes.iter().flat_map(|applied| &applied.shape.rows) {
        if rows.at != *limit.items() {
            continue;
        }
        if !rows.filter.is_empty() {
            return None;
        }
        most = most.into_iter().chain(rows.max).min();
    }
    let most = most?;
    let asked = match params.get(limit.param()) {
        Some(Value::Number(number)) => Decimal::from_json(number).ok().and_then(|number| number.to_i64()),
        _ => None,
    };
    // None, 0 and less are what some take for "all".
    if asked.and_then(|asked| usize::try_from(asked).ok()).is_some_and(|asked| (1..=most).contains(&asked)) {
        return None;
    }
    let mut narrowed = params.clone();
    narrowed.insert(limit.param().to_owned(), most.into());
    declared.describe(&narrowed).is_ok().then_some(narrowed)
}
