//! Conditions of the form `path OP literal` without the evaluator: what most conditions are.
//!
//! It answers only where it is certain and the fuel suffices, and spends what the evaluator would have spent. Where it
//! has no answer (a field that is absent, a value of another type, a number that can't be held) nothing is spent, and
//! the evaluator finds the outcome and the reason.
//!
//! Invariant: an answer is the evaluator's answer, and leaves the fuel that it would have left.

use super::{
    fuel::{self, Fuel},
    node::{Comparison, Constant, Kind, Node},
    value::plain_whole,
    vars::{Activation, Found, Path},
};
use crate::decimal::Decimal;
use serde_json::Value as Json;
use std::cmp::Ordering;

/// Most texts of a list that are compared one after the other; a longer list has a set in the evaluator.
const MOST_MEMBERS: usize = 8;

/// A path beside a literal.
#[derive(Debug)]
pub(super) struct Native {
    path: Path,
    test: Test,
    /// What the evaluator spends on visiting the nodes.
    cost: u64,
}

#[derive(Debug)]
enum Test {
    /// With the path on the left.
    Number {
        sign: Comparison,
        literal: Decimal,
        whole: Option<Whole>,
    },
    Text {
        sign: Comparison,
        literal: Box<str>,
    },
    Bool {
        sign: Comparison,
        literal: bool,
    },
    In(Box<[Box<str>]>),
}

/// A number as whole numbers see it: `floor`, or something between that and the next.
#[derive(Clone, Copy, Debug)]
struct Whole {
    floor: i64,
    between: bool,
}

impl Native {
    /// The form of a condition, where it has this one.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let fields = |path: &Path| path.fields().len() as u64;
        match &node.kind {
            Kind::InSet(member, set) => {
                let Kind::Path(path) = &member.kind else { return None };
                let text = |member: &Constant| match member {
                    Constant::Text(text) => Some(text.clone()),
                    _ => None,
                };
                if set.members.len() > MOST_MEMBERS {
                    return None;
                }
                let members = set.members.iter().map(text).collect::<Option<_>>()?;
                Some(Self { cost: 2 + fields(path), path: path.clone(), test: Test::In(members) })
            }
            Kind::Compare(sign, sides) => {
                let [left, right] = &**sides;
                let (path, sign, literal) = match (&left.kind, &right.kind) {
                    (Kind::Path(path), Kind::Constant(literal)) => (path, *sign, literal),
                    (Kind::Constant(literal), Kind::Path(path)) => (path, sign.mirrored(), literal),
                    _ => return None,
                };
                let of_number = |literal: Decimal| {
                    let whole = literal.floor().map(|(floor, between)| Whole { floor, between });
                    Test::Number { sign, literal, whole }
                };
                let test = match literal {
                    Constant::Int(whole) => of_number(Decimal::from_i64(*whole)),
                    Constant::Decimal(number) => of_number(*number),
                    Constant::Text(text) => Test::Text { sign, literal: text.clone() },
                    Constant::Bool(yes) if sign.is_equality() => Test::Bool { sign, literal: *yes },
                    Constant::Bool(_) | Constant::Null => return None,
                };
                let cost = 3 + fields(path) + u64::from(sign.is_equality());
                Some(Self { cost, path: path.clone(), test })
            }
            _ => None,
        }
    }

    /// Whether it holds, where that is certain.
    #[inline]
    pub(super) fn holds(&self, vars: &Activation<'_>, fuel: &mut Fuel) -> Option<bool> {
        let (holds, more) = match (&self.test, vars.find(&self.path)?) {
            (Test::Number { sign, literal, whole }, Found::Json(Json::Number(number))) => {
                let text = number.as_str();
                match (plain_whole(text), whole) {
                    (Some(found), Some(whole)) => (sign.says(whole.compare(found)), 0),
                    (Some(found), None) => (sign.says(Decimal::from_i64(found).cmp(literal)), 0),
                    (None, _) => {
                        let found = Decimal::parse(text).ok()?;
                        (sign.says(found.cmp(literal)), fuel::of_bytes(text.len()))
                    }
                }
            }
            (Test::Text { sign, literal }, found) => {
                let text = found.text()?;
                let compared = fuel::of_bytes(text.len().min(literal.len()));
                let holds = match sign {
                    Comparison::Equal => *text == **literal,
                    Comparison::NotEqual => *text != **literal,
                    _ => sign.says(text.cmp(literal)),
                };
                (holds, compared)
            }
            (Test::Bool { sign, literal }, Found::Json(Json::Bool(found))) => {
                ((found == literal) == (*sign == Comparison::Equal), 0)
            }
            (Test::In(members), found) => {
                let text = found.text()?;
                (members.iter().any(|member| **member == *text), fuel::of_bytes(text.len()))
            }
            _ => return None,
        };
        fuel.try_spend(self.cost + more).then_some(holds)
    }
}

impl Whole {
    /// How `found` stands to the number.
    fn compare(self, found: i64) -> Ordering {
        match found.cmp(&self.floor) {
            Ordering::Equal if self.between => Ordering::Less,
            ordering => ordering,
        }
    }
}
