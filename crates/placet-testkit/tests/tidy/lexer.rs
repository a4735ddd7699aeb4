//! Just enough of Rust's lexical grammar to tell code, comments and string literals apart.

/// A file taken apart. Lines keep their places in each part.
#[derive(Debug, Default)]
pub(crate) struct Lexed {
    /// The code; comments are gone and literals are `""`.
    pub(crate) code: String,
    /// The string literals, as they are written between their quotes.
    pub(crate) strings: Vec<String>,
}

/// Takes a file apart.
pub(crate) fn lex(text: &str) -> Lexed {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut lexed = Lexed::default();
    let mut i = 0;
    while i < chars.len() {
        let before = if i == 0 { '\0' } else { at(i - 1) };
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => i = block_comment(&chars, i, &mut lexed),
            '"' => i = string(&chars, i, 0, true, &mut lexed),
            'r' if !is_word(before) || before == 'b' || before == 'c' => {
                let mut hashes = 0;
                while at(i + 1 + hashes) == '#' {
                    hashes += 1;
                }
                if at(i + 1 + hashes) == '"' {
                    i = string(&chars, i + 1 + hashes, hashes, false, &mut lexed);
                } else {
                    lexed.code.push('r');
                    i += 1;
                }
            }
            // A character, where a quote follows it; else a lifetime.
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            other => {
                lexed.code.push(other);
                i += 1;
            }
        }
    }
    lexed
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Passes over a comment that begins at `i`, with those inside it.
fn block_comment(chars: &[char], mut i: usize, lexed: &mut Lexed) -> usize {
    let mut depth = 0_usize;
    while i < chars.len() {
        match (chars.get(i), chars.get(i + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                i += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    break;
                }
            }
            (Some('\n'), _) => {
                lexed.code.push('\n');
                i += 1;
            }
            _ => i += 1,
        }
    }
    i
}

/// Reads the literal whose opening quote is at `i` and returns the place behind it.
fn string(chars: &[char], i: usize, hashes: usize, escapes: bool, lexed: &mut Lexed) -> usize {
    let mut end = i + 1;
    let mut literal = String::new();
    while let Some(&c) = chars.get(end) {
        if c == '"' && (1..=hashes).all(|offset| chars.get(end + offset) == Some(&'#')) {
            break;
        }
        literal.push(c);
        if escapes && c == '\\' {
            literal.extend(chars.get(end + 1));
            end += 1;
        }
        end += 1;
    }
    lexed.code.push_str("\"\"");
    lexed.code.extend(literal.chars().filter(|&c| c == '\n'));
    lexed.strings.push(literal);
    end + 1 + hashes
}

#[test]
fn code_comments_and_strings_are_told_apart() {
    let text = concat!(
        "let a = \"one // \\\" two\"; // three \"four\"\n",
        "/* five /* six */ \"seven\" */ let b = r#\"eight \" \\\"#;\n",
        "let c = '\"'; let d = '\\''; fn e<'f>(x: &'f str) {} let g = br\"nine\"; for r in x {}",
    );
    let lexed = lex(text);
    assert_eq!(lexed.strings, ["one // \\\" two", "eight \" \\", "nine"]);
    assert_eq!(
        lexed.code,
        "let a = \"\"; \n let b = \"\";\nlet c = ; let d = ; fn e<'f>(x: &'f str) {} let g = b\"\"; for r in x {}"
    );
}
