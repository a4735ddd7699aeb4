//! The reader behind [`super::parse`]: RFC 8259 by recursive descent.
//!
//! It exists because serde_json's own reader keeps the last of two equal keys and reads an object with a certain key
//! as a number. Strings and their escapes are still left to serde_json.
//!
//! Invariant: recursion is bounded by [`MAX_DEPTH`]; no input panics.

use super::{JsonError, MAX_DEPTH, RESERVED_KEYS};
use serde_json::{Map, Number, Value};

pub(super) fn document(text: &str) -> Result<Value, JsonError> {
    let mut reader = Reader { text, at: 0, path: Vec::new() };
    let value = reader.value(0)?;
    reader.space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.wrong("data after the end of the document")),
    }
}

enum Step {
    Key(String),
    Index(usize),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    path: Vec<Step>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn wrong(&self, what: &'static str) -> JsonError {
        // An escape that the text ends in was stepped over as if it were whole.
        JsonError::Syntax { at: self.at.min(self.text.len()), what }
    }

    fn since(&self, start: usize) -> &str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.wrong("expected a value")),
            None => Err(self.wrong("the document ends where a value is expected")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.wrong("expected a value"))
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.descend(depth)?;
        let mut members = Map::new();
        self.space();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("expected a key in double quotes"));
            }
            let key = self.string()?;
            if key.starts_with(RESERVED_KEYS) {
                return Err(JsonError::ReservedKey { key, path: self.path() });
            }
            if members.contains_key(&key) {
                return Err(JsonError::DuplicateKey { key, path: self.path() });
            }
            self.space();
            if !self.take(b':') {
                return Err(self.wrong("expected `:` after a key"));
            }
            self.path.push(Step::Key(key));
            let value = self.value(depth + 1)?;
            if let Some(Step::Key(key)) = self.path.pop() {
                members.insert(key, value);
            }
            self.space();
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return Err(self.wrong("expected `,` or `}` in an object"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.descend(depth)?;
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            self.path.push(Step::Index(items.len()));
            items.push(self.value(depth + 1)?);
            self.path.pop();
            self.space();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return Err(self.wrong("expected `,` or `]` in an array"));
            }
        }
    }

    /// Steps over an opening bracket.
    fn descend(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth >= MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut plain = true;
        loop {
            match self.peek() {
                None => return Err(self.wrong("a string is not closed")),
                Some(b'"') => break,
                Some(b'\\') => {
                    plain = false;
                    self.at += 2;
                }
                Some(0x00..=0x1f) => return Err(self.wrong("a control character in a string; escape it")),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        if plain {
            return Ok(self.text.get(start + 1..self.at - 1).unwrap_or_default().to_owned());
        }
        serde_json::from_str(self.since(start))
            .map_err(|_| JsonError::Syntax { at: start, what: "a bad escape in a string" })
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        // serde_json's own reader would write `1E5` as `1e+5`; the grammar has been checked above.
        Ok(Value::Number(Number::from_string_unchecked(self.since(start).to_owned())))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("expected a digit")) } else { Ok(()) }
    }

    fn path(&self) -> String {
        let mut text = "$".to_owned();
        for step in &self.path {
            match step {
                Step::Key(key) => {
                    text.push('.');
                    text.push_str(key);
                }
                Step::Index(index) => {
                    text.push('[');
                    text.push_str(&index.to_string());
                    text.push(']');
                }
            }
        }
        text
    }
}
