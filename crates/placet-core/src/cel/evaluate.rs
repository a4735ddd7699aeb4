//! The evaluator: walks the compiled tree over JSON in place.
//!
//! Invariant: every step is paid for in fuel before it is done; an error is a value ([`Why`]), never a panic and
//! never `false`.

use super::{
    Why, calls,
    fuel::Fuel,
    node::{Arithmetic, Comparison, ConstantSet, Kind, Node},
    value::{Text, Value},
    vars::{Activation, PARTS, Path, Root},
};
use crate::decimal::Decimal;

pub(super) struct Evaluator<'a, 'f> {
    pub(super) vars: &'f Activation<'a>,
    pub(super) fuel: &'f mut Fuel,
    /// The variables of the macros around the node, outermost first.
    pub(super) locals: Vec<Value<'a>>,
}

impl<'a> Evaluator<'a, '_> {
    pub(super) fn value(&mut self, node: &'a Node) -> Result<Value<'a>, Why> {
        self.fuel.spend(1)?;
        match &node.kind {
            Kind::Constant(constant) => Ok(Value::from_constant(constant)),
            Kind::Path(path) => self.path(path),
            Kind::Compare(sign, sides) => self.comparison(*sign, sides),
            Kind::And(sides) => self.logical(sides, false),
            Kind::Or(sides) => self.logical(sides, true),
            Kind::Not(operand) => Ok(Value::Bool(!self.truth(operand)?)),
            Kind::Local(slot) => {
                self.locals.get(*slot).cloned().ok_or_else(|| Why::Missing("a variable".to_owned()))
            }
            Kind::Field(operand, name) => {
                let operand = self.value(operand)?;
                operand.field(name, self.fuel)?.ok_or_else(|| Why::Missing(format!("no such field `{name}`")))
            }
            Kind::Has(operand, name) => {
                if let Kind::Path(path) = &operand.kind
                    && path.is_resource()
                {
                    return self.has_attribute(path, name);
                }
                if let Kind::Path(path) = &operand.kind
                    && path.is_somebody()
                {
                    return self.somebody_has(path, name);
                }
                let operand = self.value(operand)?;
                Ok(Value::Bool(operand.field(name, self.fuel)?.is_some()))
            }
            Kind::InSet(member, set) => {
                let member = self.value(member)?;
                self.in_set(&member, set)
            }
            Kind::Arithmetic(sign, sides) => self.arithmetic(*sign, sides),
            _ => self.rarer(node),
        }
    }

    /// Kinds kept out of [`Evaluator::value`], whose stack frame every level of a condition pays for.
    #[inline(never)]
    fn rarer(&mut self, node: &'a Node) -> Result<Value<'a>, Why> {
        match &node.kind {
            Kind::Index(parts) => self.index(parts),
            Kind::List(elements) => {
                self.fuel.spend(elements.len() as u64)?;
                let values = elements.iter().map(|element| self.value(element));
                Ok(Value::List(values.collect::<Result<Vec<_>, _>>()?.into()))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Negate(operand) => match self.value(operand)? {
                Value::Int(whole) => whole.checked_neg().map(Value::Int).ok_or_else(|| overflow("-")),
                Value::Decimal(number) => Ok(Value::Decimal(number.negate())),
                Value::Span(span) => span.checked_neg().map(Value::Span).ok_or_else(|| overflow("-")),
                other => Err(Why::Type(format!("`-` does not apply to {}", other.type_name()))),
            },
            Kind::If(parts) => {
                let [condition, yes, no] = &**parts;
                if self.truth(condition)? { self.value(yes) } else { self.value(no) }
            }
            Kind::In(sides) => self.membership(sides),
            Kind::Matches(text, pattern) => {
                let text = self.value(text)?;
                let Value::Text(text) = &text else { return Err(wrong_target("matches", &text)) };
                let text = text.as_ref();
                self.fuel.spend((1 + text.len() as u64 / 8).saturating_mul(pattern.weight))?;
                Ok(Value::Bool(pattern.regex.is_match(text)))
            }
            Kind::Call(function, arguments) => calls::call(self, *function, arguments),
            Kind::Zoned(function, target, zone) => {
                let target = self.value(target)?;
                calls::calendar(*function, &target, zone)
            }
            Kind::Macro(parts) => self.macro_call(parts),
            Kind::Bind(parts) => {
                let [value, body] = &**parts;
                let value = self.value(value)?;
                self.locals.push(value);
                let result = self.value(body);
                self.locals.pop();
                result
            }
            // All others are in `value`.
            _ => Err(Why::Value("not an expression".to_owned())),
        }
    }

    pub(super) fn truth(&mut self, node: &'a Node) -> Result<bool, Why> {
        match self.value(node)? {
            Value::Bool(yes) => Ok(yes),
            other => Err(Why::Type(format!("a condition is {}, not a bool", other.type_name()))),
        }
    }

    fn path(&mut self, path: &Path) -> Result<Value<'a>, Why> {
        if path.root() == Root::Now {
            return match (self.vars.now(), path.fields()) {
                (None, _) => Err(Why::Missing("`now` is not known".to_owned())),
                (Some(now), []) => Ok(Value::Time(now.to_jiff())),
                (Some(_), _) => Err(Why::Type("`now` is a timestamp and has no fields".to_owned())),
            };
        }
        if let Some(text) = self.vars.fact(path) {
            self.fuel.spend(1)?;
            return Ok(Value::Text(Text::Borrowed(text)));
        }
        if path.is_somebody() {
            return Err(Why::Missing(format!("`{path}` is read by its fields")));
        }
        if path.is_resource() {
            // What of it is unknown would look as if it were absent.
            return Err(Why::Missing("`resource` is read by its fields".to_owned()));
        }
        let Some(mut json) = self.vars.root(path.root()) else {
            return Err(Why::Missing(format!("`{}` is not known", path.root().name())));
        };
        for (index, field) in path.fields().iter().enumerate() {
            self.fuel.spend(1)?;
            let Some(fields) = json.as_object() else {
                return Err(Why::Type(format!("`{}` is not a map", prefix(path, index))));
            };
            match fields.get(&**field) {
                Some(inner) => json = inner,
                None => return Err(Why::Missing(format!("no such field `{}`", prefix(path, index + 1)))),
            }
        }
        Value::from_json(json, self.fuel)
    }

    /// Whether the agent or the user has a field. Of what nothing fills yet that can't be told: that it is absent would be
    /// taken for an answer.
    fn somebody_has(&mut self, path: &Path, name: &str) -> Result<Value<'a>, Why> {
        self.fuel.spend(1)?;
        let somebody = self.vars.root(path.root());
        let somebody = somebody.ok_or_else(|| Why::Missing(format!("`{path}` is not known")))?;
        let has = somebody.get(name).is_some();
        if !has && path.root().is_unfilled(name) {
            return Err(Why::Missing(format!("`{path}.{name}` is not known")));
        }
        Ok(Value::Bool(has))
    }

    /// Whether the resource has a part of its own; what is read from upstream is there or unknown, never absent.
    fn has_attribute(&mut self, path: &Path, name: &str) -> Result<Value<'a>, Why> {
        self.fuel.spend(1)?;
        let unknown = || Why::Missing(format!("`resource.{name}` is not known"));
        let resource = self.vars.root(path.root()).ok_or_else(unknown)?;
        match resource.get(name) {
            Some(_) => Ok(Value::Bool(true)),
            None if PARTS.contains(&name) => Ok(Value::Bool(false)),
            None => Err(unknown()),
        }
    }

    fn comparison(&mut self, sign: Comparison, sides: &'a [Node; 2]) -> Result<Value<'a>, Why> {
        let [left, right] = sides;
        let (left, right) = (self.value(left)?, self.value(right)?);
        Ok(Value::Bool(match sign {
            Comparison::Equal => left.equals(&right, self.fuel)?,
            Comparison::NotEqual => !left.equals(&right, self.fuel)?,
            _ => sign.says(left.compare(&right, sign, self.fuel)?),
        }))
    }

    /// `&&` (`decisive` false) and `||` (`decisive` true): a decisive operand decides, whichever side it is on and
    /// whatever error the other is.
    fn logical(&mut self, sides: &'a [Node; 2], decisive: bool) -> Result<Value<'a>, Why> {
        let [left, right] = sides;
        let left = self.truth(left);
        if left.as_ref().is_ok_and(|yes| *yes == decisive) {
            return Ok(Value::Bool(decisive));
        }
        let right = self.truth(right);
        if right.as_ref().is_ok_and(|yes| *yes == decisive) {
            return Ok(Value::Bool(decisive));
        }
        left.and(right).map(Value::Bool)
    }

    fn in_set(&mut self, member: &Value<'a>, set: &ConstantSet) -> Result<Value<'a>, Why> {
        Ok(Value::Bool(match member {
            Value::Text(text) => {
                let text = text.as_ref();
                self.fuel.spend_bytes(text.len())?;
                set.texts.contains(text)
            }
            Value::Null => set.null,
            Value::Bool(true) => set.yes,
            Value::Bool(false) => set.no,
            other => other.number().is_some_and(|number| set.numbers.contains(&number)),
        }))
    }

    fn membership(&mut self, sides: &'a [Node; 2]) -> Result<Value<'a>, Why> {
        let [member, within] = sides;
        if let Kind::Path(path) = &within.kind
            && path.is_somebody()
        {
            let Value::Text(name) = self.value(member)? else { return Ok(Value::Bool(false)) };
            return self.somebody_has(path, name.as_ref());
        }
        let (member, collection) = (self.value(member)?, self.value(within)?);
        if let Some(length) = collection.list_length() {
            for index in 0..length {
                self.fuel.spend(1)?;
                if let Some(element) = collection.element(index, self.fuel)?
                    && member.equals(&element, self.fuel)?
                {
                    return Ok(Value::Bool(true));
                }
            }
            return Ok(Value::Bool(false));
        }
        match (&member, collection.map_length()) {
            (Value::Text(key), Some(_)) => {
                Ok(Value::Bool(collection.field(key.as_ref(), self.fuel)?.is_some()))
            }
            (_, Some(_)) => Ok(Value::Bool(false)),
            (_, None) => {
                Err(Why::Type(format!("`in` needs a list or a map, and found {}", collection.type_name())))
            }
        }
    }

    fn index(&mut self, parts: &'a [Node; 2]) -> Result<Value<'a>, Why> {
        let [operand, key] = parts;
        let (operand, key) = (self.value(operand)?, self.value(key)?);
        if let Some(length) = operand.list_length() {
            let Some(position) = key.number().and_then(Decimal::to_i64) else {
                return Err(Why::Type(format!(
                    "a list is indexed by a whole number, not by {}",
                    key.type_name()
                )));
            };
            let missing = || Why::Missing(format!("index {position} is out of range: the list has {length}"));
            let position = usize::try_from(position).map_err(|_| missing())?;
            return operand.element(position, self.fuel)?.ok_or_else(missing);
        }
        match (&key, operand.map_length()) {
            (Value::Text(name), Some(_)) => operand
                .field(name.as_ref(), self.fuel)?
                .ok_or_else(|| Why::Missing(format!("no such field `{}`", shorten(name.as_ref())))),
            (_, Some(_)) => {
                Err(Why::Type(format!("a map is indexed by a string, not by {}", key.type_name())))
            }
            _ => Err(Why::Type(format!("`[…]` does not apply to {}", operand.type_name()))),
        }
    }

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Result<Value<'a>, Why> {
        let mut fields: Vec<(Text<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let Value::Text(key) = self.value(key)? else {
                return Err(Why::Type("the keys of a map are strings".to_owned()));
            };
            self.fuel.spend(fields.len() as u64)?;
            if fields.iter().any(|(other, _)| other.as_ref() == key.as_ref()) {
                return Err(Why::Value(format!("the key `{}` is there twice", shorten(key.as_ref()))));
            }
            let value = self.value(value)?;
            fields.push((key, value));
        }
        Ok(Value::Map(fields.into()))
    }

    fn arithmetic(&mut self, sign: Arithmetic, sides: &'a [Node; 2]) -> Result<Value<'a>, Why> {
        let [left, right] = sides;
        let (left, right) = (self.value(left)?, self.value(right)?);
        match (&left, &right) {
            (Value::Int(left), Value::Int(right)) => whole_numbers(sign, *left, *right),
            (Value::Text(left), Value::Text(right)) if sign == Arithmetic::Add => {
                let (left, right) = (left.as_ref(), right.as_ref());
                self.fuel.spend_bytes(left.len() + right.len())?;
                Ok(Value::made([left, right].concat()))
            }
            (Value::Time(time), Value::Span(span)) | (Value::Span(span), Value::Time(time))
                if sign == Arithmetic::Add =>
            {
                time.checked_add(*span).ok().and_then(calls::time).ok_or_else(|| overflow("+"))
            }
            (Value::Time(time), Value::Span(span)) if sign == Arithmetic::Subtract => {
                time.checked_sub(*span).ok().and_then(calls::time).ok_or_else(|| overflow("-"))
            }
            (Value::Time(left), Value::Time(right)) if sign == Arithmetic::Subtract => {
                Ok(Value::Span(left.duration_since(*right)))
            }
            (Value::Span(left), Value::Span(right)) if sign == Arithmetic::Add => {
                left.checked_add(*right).map(Value::Span).ok_or_else(|| overflow("+"))
            }
            (Value::Span(left), Value::Span(right)) if sign == Arithmetic::Subtract => {
                left.checked_sub(*right).map(Value::Span).ok_or_else(|| overflow("-"))
            }
            _ => {
                if let (Some(one), Some(other)) = (left.number(), right.number()) {
                    return decimals(sign, one, other);
                }
                if let (Arithmetic::Add, Some(one), Some(other)) =
                    (sign, left.list_length(), right.list_length())
                {
                    return self.concatenation(&left, one, &right, other);
                }
                Err(Why::Type(format!(
                    "`{}` does not apply to {} and {}",
                    sign.sign(),
                    left.type_name(),
                    right.type_name()
                )))
            }
        }
    }

    fn concatenation(
        &mut self,
        left: &Value<'a>,
        left_length: usize,
        right: &Value<'a>,
        right_length: usize,
    ) -> Result<Value<'a>, Why> {
        self.fuel.spend(left_length as u64)?;
        self.fuel.spend(right_length as u64)?;
        let mut elements = Vec::with_capacity(left_length + right_length);
        for (list, length) in [(left, left_length), (right, right_length)] {
            for index in 0..length {
                elements.extend(list.element(index, self.fuel)?);
            }
        }
        Ok(Value::List(elements.into()))
    }
}

fn whole_numbers<'a>(sign: Arithmetic, left: i64, right: i64) -> Result<Value<'a>, Why> {
    if right == 0 && matches!(sign, Arithmetic::Divide | Arithmetic::Remainder) {
        return Err(Why::Number("division by zero".to_owned()));
    }
    match sign {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Remainder => left.checked_rem(right),
    }
    .map(Value::Int)
    .ok_or_else(|| overflow(sign.sign()))
}

fn decimals<'a>(sign: Arithmetic, left: Decimal, right: Decimal) -> Result<Value<'a>, Why> {
    let result = match sign {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide if right.is_zero() => return Err(Why::Number("division by zero".to_owned())),
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Remainder => return Err(Why::Type("`%` is for whole numbers".to_owned())),
    };
    result
        .map(Value::Decimal)
        .ok_or_else(|| Why::Number(format!("the result of `{}` can't be held exactly", sign.sign())))
}

pub(super) fn overflow(sign: &str) -> Why {
    Why::Number(format!("the result of `{sign}` is out of range"))
}

pub(super) fn wrong_target(function: &str, value: &Value<'_>) -> Why {
    Why::Type(format!("`{function}` does not apply to {}", value.type_name()))
}

/// The variable and its first fields, as far as they were followed.
fn prefix(path: &Path, fields: usize) -> String {
    let mut shown = path.root().name().to_owned();
    for field in path.fields().iter().take(fields) {
        shown.push('.');
        shown.push_str(field);
    }
    shown
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}
