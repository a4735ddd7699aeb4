//! Conditions of the usual forms without the evaluator: comparisons of paths, literals, sizes and sums, the questions
//! about texts, `has`, `&&`, `||`, `!`, and `all` and `exists` over lists.
//!
//! It answers only where it is certain and the fuel suffices, and spends what the evaluator would have spent. Where it
//! has no answer (a field that is absent, a value of another type, a number that can't be held) nothing is spent, and
//! the evaluator finds the outcome and the reason.
//!
//! Invariant: an answer is the evaluator's answer, and leaves the fuel that it would have left.

mod side;

use super::{
    fuel::{self, Fuel},
    functions::Function,
    node::{Comparison, Constant, ConstantSet, Kind, MacroKind, Node},
    value::plain_whole,
    vars::{Activation, Found},
};
use crate::decimal::Decimal;
use serde_json::Value as Json;
use side::{Element, Met, Place, Scope, Side};
use std::{cmp::Ordering, sync::Arc};

/// Most texts of a list that are compared one after the other; a longer list has a set.
const MOST_MEMBERS: usize = 8;

/// A condition that needs no evaluator.
#[derive(Debug)]
pub(super) struct Native(Test);

#[derive(Debug)]
enum Test {
    /// With the place on the left.
    Number {
        place: Place,
        sign: Comparison,
        literal: Decimal,
        whole: Option<Whole>,
        cost: u64,
    },
    Text {
        place: Place,
        sign: Comparison,
        literal: Box<str>,
        cost: u64,
    },
    Bool {
        place: Place,
        sign: Comparison,
        literal: bool,
        cost: u64,
    },
    In(Place, Box<[Box<str>]>),
    InSet(Place, Arc<ConstantSet>),
    /// Whole numbers or texts, whatever they come from.
    Sides(Comparison, Side, Side),
    /// `contains`, `startsWith`, `endsWith`.
    Part(Function, Side, Side),
    Matches(Place, regex::Regex, u64),
    Has(Place, Box<str>),
    /// A place that is a bool.
    Is(Place),
    Not(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    Each(Box<Each>),
}

/// `all` (`decisive` false) and `exists` (`decisive` true) over the elements of a list.
#[derive(Debug)]
struct Each {
    range: Place,
    /// Where its body finds the element.
    slot: usize,
    body: Test,
    decisive: bool,
}

/// A number as whole numbers see it: `floor`, or something between that and the next.
#[derive(Clone, Copy, Debug)]
struct Whole {
    floor: i64,
    between: bool,
}

impl Native {
    /// The form of a condition, where it has one of these.
    pub(super) fn of(node: &Node) -> Option<Self> {
        Test::of(node, 0).map(Self)
    }

    /// Whether it holds, where that is certain.
    #[inline]
    pub(super) fn holds(&self, vars: &Activation<'_>, fuel: &mut Fuel) -> Option<bool> {
        let before = fuel.left();
        let answer = self.0.holds(Scope { vars, innermost: None }, fuel);
        if answer.is_none() {
            *fuel = Fuel::new(before);
        }
        answer
    }
}

impl Test {
    /// `locals`: how many variables the macros around the node have.
    fn of(node: &Node, locals: usize) -> Option<Self> {
        match &node.kind {
            Kind::InSet(member, set) => {
                let place = Place::of(member)?;
                let text = |member: &Constant| match member {
                    Constant::Text(text) => Some(text.clone()),
                    _ => None,
                };
                if set.members.len() > MOST_MEMBERS {
                    return Some(Self::InSet(place, Arc::clone(set)));
                }
                Some(Self::In(place, set.members.iter().map(text).collect::<Option<_>>()?))
            }
            Kind::Compare(sign, sides) => Self::comparison(*sign, sides),
            Kind::Call(
                function @ (Function::Contains | Function::StartsWith | Function::EndsWith),
                arguments,
            ) => {
                let [text, part] = &**arguments else { return None };
                Some(Self::Part(*function, Side::of(text)?, Side::of(part)?))
            }
            Kind::Matches(text, pattern) => {
                Some(Self::Matches(Place::of(text)?, pattern.regex.clone(), pattern.weight))
            }
            Kind::Has(operand, name) => Some(Self::Has(Place::of(operand)?, name.clone())),
            Kind::Not(operand) => Some(Self::Not(Box::new(Self::of(operand, locals)?))),
            Kind::And(sides) => Self::both(sides, locals).map(Self::And),
            Kind::Or(sides) => Self::both(sides, locals).map(Self::Or),
            Kind::Macro(parts) => {
                let decisive = match parts.kind {
                    MacroKind::All => false,
                    MacroKind::Exists => true,
                    _ => return None,
                };
                if parts.pairs || parts.condition.is_some() {
                    return None;
                }
                let (range, body) = (Place::of(&parts.range)?, Self::of(&parts.body, locals + 1)?);
                Some(Self::Each(Box::new(Each { range, slot: locals, body, decisive })))
            }
            _ => Place::of(node).map(Self::Is),
        }
    }

    fn both(sides: &[Node; 2], locals: usize) -> Option<Box<[Self; 2]>> {
        let [left, right] = sides;
        Some(Box::new([Self::of(left, locals)?, Self::of(right, locals)?]))
    }

    fn comparison(sign: Comparison, sides: &[Node; 2]) -> Option<Self> {
        let [left, right] = sides;
        let beside = match (&left.kind, &right.kind) {
            (_, Kind::Constant(literal)) => Place::of(left).map(|place| (place, sign, literal)),
            (Kind::Constant(literal), _) => Place::of(right).map(|place| (place, sign.mirrored(), literal)),
            _ => None,
        };
        let Some((place, sign, literal)) = beside else {
            return Some(Self::Sides(sign, Side::of(left)?, Side::of(right)?));
        };
        // The comparison, the literal, and what equality visits.
        let cost = 2 + place.cost() + u64::from(sign.is_equality());
        let number = |place, literal: Decimal| {
            let whole = literal.floor().map(|(floor, between)| Whole { floor, between });
            Self::Number { place, sign, literal, whole, cost }
        };
        match literal {
            Constant::Int(whole) => Some(number(place, Decimal::from_i64(*whole))),
            Constant::Decimal(decimal) => Some(number(place, *decimal)),
            Constant::Text(text) => Some(Self::Text { place, sign, literal: text.clone(), cost }),
            Constant::Bool(yes) if sign.is_equality() => {
                Some(Self::Bool { place, sign, literal: *yes, cost })
            }
            Constant::Bool(_) | Constant::Null => None,
        }
    }

    #[inline]
    fn holds(&self, scope: Scope<'_, '_>, fuel: &mut Fuel) -> Option<bool> {
        let (holds, cost) = match self {
            Self::Number { place, sign, literal, whole, cost } => {
                let (found, text) = match place.find(scope)? {
                    Found::Whole(found, _) => (Some(found), ""),
                    Found::Json(Json::Number(number)) => (plain_whole(number.as_str()), number.as_str()),
                    Found::Json(_) | Found::Text(_) => return None,
                };
                match (found, whole) {
                    (Some(found), Some(whole)) => (sign.says(whole.compare(found)), *cost),
                    (Some(found), None) => (sign.says(Decimal::from_i64(found).cmp(literal)), *cost),
                    (None, _) => {
                        let found = Decimal::parse(text).ok()?;
                        (sign.says(found.cmp(literal)), cost + fuel::of_bytes(text.len()))
                    }
                }
            }
            Self::Text { place, sign, literal, cost } => {
                let text = place.find(scope)?.text()?;
                (compared(*sign, text, literal), cost + fuel::of_bytes(text.len().min(literal.len())))
            }
            Self::Bool { place, sign, literal, cost } => {
                let Found::Json(Json::Bool(found)) = place.find(scope)? else { return None };
                ((found == literal) == (*sign == Comparison::Equal), *cost)
            }
            Self::In(place, members) => {
                let text = place.find(scope)?.text()?;
                let is_member = members.iter().any(|member| **member == *text);
                (is_member, 1 + place.cost() + fuel::of_bytes(text.len()))
            }
            _ => return self.rarer(scope, fuel),
        };
        fuel.try_spend(cost).then_some(holds)
    }

    /// Tests that are not one comparison with a literal.
    fn rarer(&self, scope: Scope<'_, '_>, fuel: &mut Fuel) -> Option<bool> {
        let (holds, cost) = match self {
            Self::InSet(place, set) => {
                let text = place.find(scope)?.text()?;
                (set.texts.contains(text), 1 + place.cost() + fuel::of_bytes(text.len()))
            }
            Self::Sides(sign, left, right) => {
                let equality = u64::from(sign.is_equality());
                match (left.met(scope, fuel)?, right.met(scope, fuel)?) {
                    (Met::Whole(left), Met::Whole(right)) => (sign.says(left.cmp(&right)), 1 + equality),
                    (Met::Text(left), Met::Text(right)) => {
                        let read = fuel::of_bytes(left.len().min(right.len()));
                        (compared(*sign, left, right), 1 + equality + read)
                    }
                    // Unequal, or a comparison that there isn't: the evaluator's business.
                    _ => return None,
                }
            }
            Self::Part(function, text, part) => {
                let (Met::Text(text), Met::Text(part)) = (text.met(scope, fuel)?, part.met(scope, fuel)?)
                else {
                    return None;
                };
                let holds = match function {
                    Function::Contains => text.contains(part),
                    Function::StartsWith => text.starts_with(part),
                    _ => text.ends_with(part),
                };
                (holds, 1 + fuel::of_bytes(text.len()))
            }
            Self::Matches(place, regex, weight) => {
                let text = place.find(scope)?.text()?;
                // Paid for before it runs, as there.
                let cost = (1 + text.len() as u64 / 8).saturating_mul(*weight);
                return fuel.try_spend(1 + place.cost() + cost).then(|| regex.is_match(text));
            }
            Self::Has(place, name) => {
                let Found::Json(Json::Object(members)) = place.find(scope)? else { return None };
                let member = members.get(&**name);
                if let Some(Json::Number(number)) = member {
                    plain_whole(number.as_str())?;
                }
                (member.is_some(), 1 + place.cost())
            }
            Self::Is(place) => match place.find(scope)? {
                Found::Json(Json::Bool(yes)) => (*yes, place.cost()),
                _ => return None,
            },
            Self::Not(operand) => (!operand.holds(scope, fuel)?, 1),
            Self::And(sides) => (Self::logical(sides, false, scope, fuel)?, 1),
            Self::Or(sides) => (Self::logical(sides, true, scope, fuel)?, 1),
            Self::Each(each) => (each.holds(scope, fuel)?, 1),
            // All others are in `holds`.
            _ => return None,
        };
        fuel.try_spend(cost).then_some(holds)
    }

    fn logical(sides: &[Self; 2], decisive: bool, scope: Scope<'_, '_>, fuel: &mut Fuel) -> Option<bool> {
        let [left, right] = sides;
        if left.holds(scope, fuel)? == decisive { Some(decisive) } else { right.holds(scope, fuel) }
    }
}

impl Each {
    fn holds(&self, scope: Scope<'_, '_>, fuel: &mut Fuel) -> Option<bool> {
        let Found::Json(Json::Array(elements)) = self.range.find(scope)? else { return None };
        if !fuel.try_spend(self.range.cost()) {
            return None;
        }
        for json in elements {
            if let Json::Number(number) = json {
                plain_whole(number.as_str())?;
            }
            let element = Element { slot: self.slot, json, around: scope.innermost };
            let inside = Scope { vars: scope.vars, innermost: Some(&element) };
            if !fuel.try_spend(1) {
                return None;
            }
            if self.body.holds(inside, fuel)? == self.decisive {
                return Some(self.decisive);
            }
        }
        Some(!self.decisive)
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

#[inline]
fn compared(sign: Comparison, left: &str, right: &str) -> bool {
    match sign {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        _ => sign.says(left.cmp(right)),
    }
}
