//! Shapes of objects in one line, so that the table of operations can be read: `name!: text, roles: [text]`.
//!
//! A member is `name: type`; `!` behind the name: it has to be there. Types are `text`, `int`, `number`, `flag`,
//! `time`, `any`, `object`, words between single quotes and `|`, `[type]` for lists, `{…}` for an object with a shape
//! of its own; `?` behind a type: it may be null.
//!
//! Invariant: what can't be read is `None`, never something looser than was written.

use serde_json::{Map, Value, json};

/// The JSON Schema of a shape; `closed` where no other members are taken.
pub fn schema(shape: &str, closed: bool) -> Option<Value> {
    let mut reader = Reader { rest: shape.trim() };
    let schema = reader.members(closed)?;
    reader.rest.is_empty().then_some(schema)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn members(&mut self, closed: bool) -> Option<Value> {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        while let Some(name) = self.name() {
            if self.takes('!') {
                required.push(json!(name));
            }
            self.takes(':').then_some(())?;
            let kind = self.kind(closed)?;
            properties.insert(name.to_owned(), kind);
            if !self.takes(',') {
                break;
            }
        }
        let mut schema = json!({"type": "object", "properties": properties});
        let members = schema.as_object_mut()?;
        if !required.is_empty() {
            members.insert("required".into(), Value::Array(required));
        }
        if closed {
            members.insert("additionalProperties".into(), json!(false));
        }
        Some(schema)
    }

    fn kind(&mut self, closed: bool) -> Option<Value> {
        let kind = if self.takes('[') {
            let items = self.kind(closed)?;
            self.takes(']').then_some(())?;
            json!({"type": "array", "items": items})
        } else if self.takes('{') {
            let members = self.members(closed)?;
            self.takes('}').then_some(())?;
            members
        } else if self.rest.starts_with('\'') {
            let mut words = Vec::new();
            loop {
                let (word, rest) = self.rest.strip_prefix('\'')?.split_once('\'')?;
                words.push(json!(word));
                self.rest = rest.trim_start();
                if !self.takes('|') {
                    break;
                }
            }
            json!({"type": "string", "enum": words})
        } else {
            match self.name()? {
                "text" => json!({"type": "string"}),
                "time" => json!({"type": "string", "format": "date-time"}),
                "int" => json!({"type": "integer"}),
                "number" => json!({"type": "number"}),
                "flag" => json!({"type": "boolean"}),
                "object" => json!({"type": "object"}),
                "any" => json!({}),
                _ => return None,
            }
        };
        if !self.takes('?') {
            return Some(kind);
        }
        Some(json!({"oneOf": [kind, {"type": "null"}]}))
    }

    fn name(&mut self) -> Option<&'a str> {
        let end = self
            .rest
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end)?;
        if name.is_empty() {
            return None;
        }
        self.rest = rest.trim_start();
        Some(name)
    }

    fn takes(&mut self, letter: char) -> bool {
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_becomes_a_schema() {
        let read = schema("a!: text, b: [{c: int?}], d: 'x'|'y'", true).unwrap();
        assert_eq!(
            read,
            json!({
                "type": "object", "required": ["a"], "additionalProperties": false,
                "properties": {
                    "a": {"type": "string"},
                    "b": {"type": "array", "items": {
                        "type": "object", "additionalProperties": false,
                        "properties": {"c": {"oneOf": [{"type": "integer"}, {"type": "null"}]}},
                    }},
                    "d": {"type": "string", "enum": ["x", "y"]},
                },
            })
        );
        assert_eq!(schema("", false).unwrap(), json!({"type": "object", "properties": {}}));
    }

    #[test]
    fn what_can_not_be_read_is_nothing() {
        for wrong in ["a", "a: b", "a: [text", "a: text b: text", "a: 'x", "a: text,, b: text", "a: {b: text"]
        {
            assert_eq!(schema(wrong, false), None, "{wrong}");
        }
    }
}
