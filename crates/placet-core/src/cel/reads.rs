//! What a condition reads, and the bound it sets where it is a simple one.
//!
//! Invariant: every variable that evaluation can touch is among the reads.

use super::{
    node::{Comparison, Constant, Kind, Node},
    vars::Path,
};
use serde_json::Value as Json;

/// A conjunct of the form `path OP literal` (or mirrored): what a decision's reason can name as the remedy.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// What is bounded.
    pub path: Path,
    /// How, with the path on the left.
    pub op: BoundOp,
    /// By what; a list where `op` is [`BoundOp::In`].
    pub literal: Json,
}

/// How a [`Bound`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundOp {
    /// `<=`
    AtMost,
    /// `<`
    Below,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `in`
    In,
}

/// The longest list that is a remedy.
const LONGEST: usize = 64;

pub(super) fn reads(node: &Node) -> Vec<Path> {
    let mut found = Vec::new();
    let mut pending = vec![node];
    while let Some(node) = pending.pop() {
        match &node.kind {
            Kind::Path(path) => found.push(path.clone()),
            Kind::Has(operand, field) => match &operand.kind {
                Kind::Path(path) => {
                    let mut fields = path.fields().to_vec();
                    fields.push(field.clone());
                    found.push(Path::new(path.root(), fields.into()));
                }
                _ => pending.push(operand),
            },
            _ => node.children(&mut pending),
        }
    }
    found.sort();
    found.dedup();
    found
}

pub(super) fn bound(node: &Node) -> Option<Bound> {
    match &node.kind {
        Kind::InSet(member, set) => {
            let Kind::Path(path) = &member.kind else { return None };
            if set.members.len() > LONGEST {
                return None;
            }
            let literal = Json::Array(set.members.iter().map(json).collect::<Option<_>>()?);
            Some(Bound { path: path.clone(), op: BoundOp::In, literal })
        }
        Kind::Compare(sign, sides) => {
            let [left, right] = &**sides;
            let (path, literal, mirrored) = match (&left.kind, &right.kind) {
                (Kind::Path(path), Kind::Constant(literal)) => (path, literal, false),
                (Kind::Constant(literal), Kind::Path(path)) => (path, literal, true),
                _ => return None,
            };
            let op = match (sign, mirrored) {
                (Comparison::LessOrEqual, false) | (Comparison::GreaterOrEqual, true) => BoundOp::AtMost,
                (Comparison::Less, false) | (Comparison::Greater, true) => BoundOp::Below,
                (Comparison::GreaterOrEqual, false) | (Comparison::LessOrEqual, true) => BoundOp::AtLeast,
                (Comparison::Greater, false) | (Comparison::Less, true) => BoundOp::Above,
                (Comparison::Equal, _) => BoundOp::Equal,
                (Comparison::NotEqual, _) => BoundOp::NotEqual,
            };
            Some(Bound { path: path.clone(), op, literal: json(literal)? })
        }
        _ => None,
    }
}

fn json(constant: &Constant) -> Option<Json> {
    match constant {
        Constant::Null => Some(Json::Null),
        Constant::Bool(yes) => Some(Json::Bool(*yes)),
        Constant::Int(whole) => Some(Json::from(*whole)),
        Constant::Decimal(number) => serde_json::from_str(&number.to_string()).ok(),
        Constant::Text(text) => Some(Json::String(text.to_string())),
    }
}
