//! `placet policy schema`: the JSON Schema of policies, for editors.

use crate::output::line;
use placet_core::policy;

/// Prints it as a file would have it, also where the output is piped.
pub(super) fn print() {
    format!("{:#}", policy::schema()).lines().for_each(line);
}
