//! Macros: what runs over the elements of a list or the entries of a map.
//!
//! Invariant: each element is paid for before it is looked at, and a decisive one decides whatever errors the others
//! are.

use super::{
    Why,
    evaluate::{Evaluator, shorten},
    node::{Macro, MacroKind},
    value::{Text, Value},
};
use std::rc::Rc;

/// What a macro runs over.
struct Range<'a> {
    value: Value<'a>,
    /// Of a map.
    keys: Option<Vec<Value<'a>>>,
    length: usize,
}

impl<'a> Evaluator<'a, '_> {
    pub(super) fn macro_call(&mut self, parts: &'a Macro) -> Result<Value<'a>, Why> {
        let value = self.value(&parts.range)?;
        let (keys, length) = match (value.list_length(), value.map_length()) {
            (Some(length), _) => (None, length),
            (None, Some(length)) => {
                self.fuel.spend(length as u64)?;
                (value.keys(), length)
            }
            (None, None) => {
                return Err(Why::Type(format!(
                    "a macro runs over a list or a map, not over {}",
                    value.type_name()
                )));
            }
        };
        let range = Range { value, keys, length };
        match parts.kind {
            MacroKind::All => self.any(parts, &range, false),
            MacroKind::Exists => self.any(parts, &range, true),
            MacroKind::ExistsOne => {
                let mut found = 0_usize;
                self.each(parts, &range, |evaluator, _| {
                    found += usize::from(evaluator.truth(&parts.body)?);
                    Ok(())
                })?;
                Ok(Value::Bool(found == 1))
            }
            MacroKind::Collect => {
                let mut collected = Vec::new();
                self.each(parts, &range, |evaluator, _| {
                    collected.push(evaluator.value(&parts.body)?);
                    Ok(())
                })?;
                Ok(Value::List(Rc::from(collected)))
            }
            MacroKind::CollectMap => {
                let mut collected = Vec::new();
                self.each(parts, &range, |evaluator, key| {
                    let Some(Value::Text(key)) = key else { return Err(not_a_key()) };
                    collected.push((key.clone(), evaluator.value(&parts.body)?));
                    Ok(())
                })?;
                Ok(Value::Map(Rc::from(collected)))
            }
            MacroKind::CollectEntries => {
                let mut collected: Vec<(Text<'a>, Value<'a>)> = Vec::new();
                self.each(parts, &range, |evaluator, _| {
                    let entries = evaluator.value(&parts.body)?;
                    let Some(keys) = entries.keys() else {
                        return Err(Why::Type(format!("an entry is a map, not {}", entries.type_name())));
                    };
                    for key in keys {
                        let Value::Text(key) = key else { return Err(not_a_key()) };
                        evaluator.fuel.spend(1 + collected.len() as u64)?;
                        if collected.iter().any(|(other, _)| other.as_ref() == key.as_ref()) {
                            let shown = shorten(key.as_ref());
                            return Err(Why::Value(format!("the key `{shown}` is there twice")));
                        }
                        if let Some(value) = entries.field(key.as_ref(), evaluator.fuel)? {
                            collected.push((key, value));
                        }
                    }
                    Ok(())
                })?;
                Ok(Value::Map(Rc::from(collected)))
            }
        }
    }

    /// `exists` (`decisive` true) and `all` (`decisive` false).
    fn any(&mut self, parts: &'a Macro, range: &Range<'a>, decisive: bool) -> Result<Value<'a>, Why> {
        let mut absorbed: Option<Why> = None;
        for index in 0..range.length {
            self.fuel.spend(1)?;
            match self.element(parts, range, index, |evaluator| evaluator.truth(&parts.body)) {
                Ok(yes) if yes == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(why) if self.fuel.is_spent() => return Err(why),
                Err(why) => absorbed = absorbed.or(Some(why)),
            }
        }
        match absorbed {
            Some(why) => Err(why),
            None => Ok(Value::Bool(!decisive)),
        }
    }

    /// Runs `body` for every element that the macro's condition takes, with its key where it has one.
    fn each(
        &mut self,
        parts: &'a Macro,
        range: &Range<'a>,
        mut body: impl FnMut(&mut Self, Option<&Value<'a>>) -> Result<(), Why>,
    ) -> Result<(), Why> {
        for index in 0..range.length {
            self.fuel.spend(1)?;
            let key = range.keys.as_ref().and_then(|keys| keys.get(index));
            self.element(parts, range, index, |evaluator| {
                let taken = match &parts.condition {
                    Some(condition) => evaluator.truth(condition)?,
                    None => true,
                };
                if taken { body(evaluator, key) } else { Ok(()) }
            })?;
        }
        Ok(())
    }

    /// Runs `body` with the macro's variables set to an element.
    fn element<T>(
        &mut self,
        parts: &Macro,
        range: &Range<'a>,
        index: usize,
        body: impl FnOnce(&mut Self) -> Result<T, Why>,
    ) -> Result<T, Why> {
        let outside = self.locals.len();
        match range.keys.as_ref().and_then(|keys| keys.get(index)) {
            Some(key) => {
                let value = match key {
                    Value::Text(name) if parts.pairs => range.value.field(name.as_ref(), self.fuel)?,
                    _ => None,
                };
                self.locals.push(key.clone());
                self.locals.extend(value);
            }
            None => {
                let element = range.value.element(index, self.fuel)?.unwrap_or(Value::Null);
                if parts.pairs {
                    self.locals.push(Value::Int(i64::try_from(index).unwrap_or(i64::MAX)));
                }
                self.locals.push(element);
            }
        }
        let result = body(self);
        self.locals.truncate(outside);
        result
    }
}

fn not_a_key() -> Why {
    Why::Type("the keys of a map are strings".to_owned())
}
