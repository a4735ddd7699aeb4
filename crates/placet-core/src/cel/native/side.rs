//! What stands on one side of a comparison: a path, a literal, a size, a sum of whole numbers.
//!
//! Invariant: as for the module above: only what is certain, at the evaluator's price.

use super::super::{
    fuel::{self, Fuel},
    functions::Function,
    node::{Arithmetic, Constant, Kind, Node},
    value::plain_whole,
    vars::{Activation, Found, Path, Root},
};
use serde_json::Value as Json;

/// The elements that macros around a condition have reached, innermost first.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s, 'a> {
    pub(super) vars: &'s Activation<'a>,
    pub(super) innermost: Option<&'s Element<'s, 'a>>,
}

/// One element that a macro has reached.
pub(super) struct Element<'s, 'a> {
    pub(super) slot: usize,
    pub(super) json: &'a Json,
    pub(super) around: Option<&'s Self>,
}

/// A place that a value is read from.
#[derive(Debug)]
pub(super) enum Place {
    Path(Path),
    /// Fields of the so-manieth variable of the macros around it.
    Local(usize, Box<[Box<str>]>),
}

impl Place {
    pub(super) fn of(node: &Node) -> Option<Self> {
        match &node.kind {
            // What of the resource is unknown is for the evaluator to tell from what is absent.
            Kind::Path(path) => (path.root() != Root::Now && !path.is_resource() && !path.is_somebody())
                .then(|| Self::Path(path.clone())),
            Kind::Local(slot) => Some(Self::Local(*slot, Box::default())),
            Kind::Field(operand, name) => match Self::of(operand)? {
                Self::Local(slot, fields) => {
                    let mut fields = fields.into_vec();
                    fields.push(name.clone());
                    Some(Self::Local(slot, fields.into()))
                }
                Self::Path(_) => None,
            },
            _ => None,
        }
    }

    /// What the evaluator spends on getting there.
    pub(super) fn cost(&self) -> u64 {
        let fields = match self {
            Self::Path(path) => path.fields(),
            Self::Local(_, fields) => fields,
        };
        1 + fields.len() as u64
    }

    #[inline]
    pub(super) fn find<'a>(&self, scope: Scope<'_, 'a>) -> Option<Found<'a>> {
        match self {
            Self::Path(path) => scope.vars.find(path),
            Self::Local(slot, fields) => {
                let mut element = scope.innermost?;
                while element.slot != *slot {
                    element = element.around?;
                }
                let mut json = element.json;
                for field in fields {
                    json = json.as_object()?.get(&**field)?;
                }
                Some(Found::Json(json))
            }
        }
    }
}

/// One side.
#[derive(Debug)]
pub(super) enum Side {
    Place(Place),
    Whole(i64),
    Text(Box<str>),
    Size(Place),
    Arithmetic(Arithmetic, Box<[Self; 2]>),
}

/// What a side comes to.
#[derive(Clone, Copy)]
pub(super) enum Met<'t> {
    Whole(i64),
    Text(&'t str),
}

impl Side {
    pub(super) fn of(node: &Node) -> Option<Self> {
        match &node.kind {
            Kind::Constant(Constant::Int(whole)) => Some(Self::Whole(*whole)),
            Kind::Constant(Constant::Text(text)) => Some(Self::Text(text.clone())),
            Kind::Call(Function::Size, arguments) => {
                let [of] = &**arguments else { return None };
                Some(Self::Size(Place::of(of)?))
            }
            Kind::Arithmetic(sign, sides) => {
                let [left, right] = &**sides;
                Some(Self::Arithmetic(*sign, Box::new([Self::of(left)?, Self::of(right)?])))
            }
            _ => Place::of(node).map(Self::Place),
        }
    }

    #[inline]
    pub(super) fn met<'t, 'a: 't>(&'t self, scope: Scope<'_, 'a>, fuel: &mut Fuel) -> Option<Met<'t>> {
        match self {
            Self::Whole(whole) => fuel.try_spend(1).then_some(Met::Whole(*whole)),
            Self::Text(text) => fuel.try_spend(1).then_some(Met::Text(text)),
            Self::Place(place) => {
                let met = match place.find(scope)? {
                    Found::Text(text) => Met::Text(text),
                    Found::Whole(whole, _) => Met::Whole(whole),
                    Found::Json(Json::String(text)) => Met::Text(text),
                    Found::Json(Json::Number(number)) => Met::Whole(plain_whole(number.as_str())?),
                    Found::Json(_) => return None,
                };
                fuel.try_spend(place.cost()).then_some(met)
            }
            Self::Size(place) => {
                let (size, read) = match place.find(scope)? {
                    Found::Json(Json::Array(elements)) => (elements.len(), 0),
                    Found::Json(Json::Object(members)) => (members.len(), 0),
                    found => {
                        let text = found.text()?;
                        (text.chars().count(), fuel::of_bytes(text.len()))
                    }
                };
                let size = i64::try_from(size).ok()?;
                fuel.try_spend(1 + place.cost() + read).then_some(Met::Whole(size))
            }
            Self::Arithmetic(sign, sides) => {
                let [left, right] = &**sides;
                let (Met::Whole(left), Met::Whole(right)) = (left.met(scope, fuel)?, right.met(scope, fuel)?)
                else {
                    return None;
                };
                let result = match sign {
                    Arithmetic::Add => left.checked_add(right),
                    Arithmetic::Subtract => left.checked_sub(right),
                    Arithmetic::Multiply => left.checked_mul(right),
                    Arithmetic::Divide => left.checked_div(right),
                    Arithmetic::Remainder => left.checked_rem(right),
                }?;
                fuel.try_spend(1).then_some(Met::Whole(result))
            }
        }
    }
}
