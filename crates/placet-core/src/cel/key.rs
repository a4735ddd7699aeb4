//! What an expression comes to where it tells counters apart.
//!
//! Invariant: one JSON value is one text, however it was written: `1`, `1.0` and `1e0` are the same number. A string, a
//! number and a bool that read the same are the same text too, so that writing another type gives no other counter.

use super::{
    Activation, Evaluator, Expression, FieldType, Fuel, Schema, TypeIssue, Value, Why, check::Wanted,
};

impl Expression {
    /// As [`Expression::check`], for an expression that counters are told by.
    pub(crate) fn check_key(&self, schema: &dyn Schema) -> Vec<TypeIssue> {
        match self.conjuncts() {
            [_] => self.check_for(Wanted::Key, schema),
            _ => self.check(schema),
        }
    }

    /// Evaluates an expression that counters are told by, to the text of its value: a string as it is, a number in
    /// its shortest decimal form, `true` or `false`.
    ///
    /// # Errors
    /// Why there is none: it can't be told, or it is of another type.
    pub(crate) fn evaluate_key(&self, vars: &Activation<'_>, fuel: &mut Fuel) -> Result<String, Why> {
        let mut all = true;
        let single = self.conjuncts().len() == 1;
        for conjunct in self.conjuncts() {
            let value = Evaluator { vars, fuel, locals: Vec::new() }.value(&conjunct.node)?;
            match (value, single) {
                (Value::Bool(yes), _) => all &= yes,
                (Value::Text(text), true) => return Ok(text.as_ref().to_owned()),
                (value, true) if value.number().is_some() => {
                    return Ok(value.number().map(|number| number.to_string()).unwrap_or_default());
                }
                (value, _) => {
                    let type_name = value.type_name();
                    return Err(Why::Type(format!(
                        "the expression is {type_name}, not a string, a number or a bool"
                    )));
                }
            }
        }
        Ok(all.to_string())
    }
}

/// Whether a value of this type may be a key.
pub(super) fn can_be(kind: &FieldType) -> bool {
    matches!(
        kind,
        FieldType::Unknown | FieldType::String | FieldType::Number | FieldType::Integer | FieldType::Bool
    )
}
