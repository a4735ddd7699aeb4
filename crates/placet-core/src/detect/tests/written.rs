//! However a thing is written: in UTF-16, in records of JSON, in events of several lines, in base64, in differences.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD};

fn little(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn big(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// What is left of a body of a type, in pieces of every small length, and what was found.
fn left(detect: &Detect, kind: &str, body: &[u8]) -> Result<(Vec<u8>, Found), Unsearchable> {
    let read = |every: usize| {
        let mut stream = Stream::of(detect.clone(), kind)?;
        let mut out = Vec::new();
        for piece in body.chunks(every) {
            out.extend(stream.push(piece)?);
        }
        out.extend(stream.finish()?);
        Ok((out, stream.found().clone()))
    };
    let whole = read(body.len().max(1));
    for every in 1..12 {
        assert_eq!(read(every), whole, "in pieces of {every}");
    }
    whole
}

#[test]
fn text_in_utf_16_is_read_as_its_reader_reads_it() {
    let text = format!("to ann@example.com, „卡号4111111111111111“ 😀\r\n{}\nend", key());
    let expected = "to [redacted:email], „卡号[redacted:card]“ 😀\r\n[redacted:private_key]\nend";
    let mark = '\u{feff}';
    let (marked, without) = (format!("{mark}{text}"), format!("{mark}{expected}"));
    for (kind, body, expected) in [
        ("text/plain", little(&marked), little(&without)),
        ("text/plain", big(&marked), big(&without)),
        ("text/plain; charset=utf-8", little(&marked), little(&without)),
        ("application/octet-stream", big(&marked), big(&without)),
        ("", little(&text), little(expected)),
        ("text/csv", big(&text), big(expected)),
        ("text/plain; charset=UTF-16", little(&text), little(expected)),
        ("text/plain; charset=\"utf-16le\"", little(&text), little(expected)),
        ("text/plain; charset=utf-16be", big(&marked), big(&without)),
        ("text/plain; charset=utf-16be", big("卡号4111111111111111"), big("卡号[redacted:card]")),
    ] {
        let (out, _) = left(&all(), kind, &body).unwrap();
        assert!(out == expected, "{kind}: {}", String::from_utf8_lossy(&out));
    }
    // Nothing in it: as it came.
    for body in
        [little("卡号 and 😀, nothing"), big("\u{feff}"), vec![], b"a".to_vec(), "é".as_bytes().to_vec()]
    {
        assert_eq!(left(&all(), "", &body).unwrap().0, body);
    }
    // Events and lines of JSON are what they are in any encoding.
    let event = "data: {\"to\": \"ann\\u0040example.com\"}\n\n";
    let (out, _) = left(&all(), "text/event-stream", &little(event)).unwrap();
    assert_eq!(out, little("data: {\"to\":\"[redacted:email]\"}\n\n"));
}

#[test]
fn what_cannot_be_read_as_its_reader_may_read_it_is_refused() {
    let half: Vec<u8> = [0xff, 0xfe, b'a', 0, 0x3d, 0xd8].to_vec();
    let lone: Vec<u8> = [0xff, 0xfe, b'a', 0, 0x00, 0xdc, b'b', 0].to_vec();
    let odd: Vec<u8> = [0xff, 0xfe, b'a', 0, b'b'].to_vec();
    for (kind, body) in [
        ("text/plain", half),
        ("text/plain", lone),
        ("text/plain", odd),
        // Which order it is in nothing shows.
        ("text/plain; charset=utf-16", little("卡号")),
        ("text/plain; charset=utf-16le", vec![0xfe, 0xff, 0, b'a']),
        ("text/plain", vec![0xff, 0xfe, 0, 0, b'a', 0, 0, 0]),
        ("text/html", b"a@b\0c".to_vec()),
        ("application/xml", little("卡号4111111111111111")),
        ("application/x-ndjson", b"{\"a\": 1}\nnot JSON\n".to_vec()),
        ("application/x-ndjson", b"{\"a\": 1, \"a\": 2}\n".to_vec()),
        ("application/json-seq", b"\x1e{\"a\": 1}\n{\"b\": 2}\n".to_vec()),
        ("application/json-seq", b"{\"a\": 1}\n".to_vec()),
        ("application/json-seq", b"\x1e{\"a\": \x1e1\n".to_vec()),
        ("text/event-stream", b"data: {\"a\": 1, \"a\": 2}\n\n".to_vec()),
    ] {
        assert!(left(&all(), kind, &body).is_err(), "{kind}: {}", String::from_utf8_lossy(&body));
    }
    for kind in ["text/plain; charset=utf-7", "text/plain;charset=iso-2022-jp", "text/plain; charset=utf-32"]
    {
        assert!(Stream::of(all(), kind).is_err(), "{kind}");
    }
    // A picture is what it is.
    let picture = [&[0xff, 0xfe, 0, 0xd8][..], b"x\0y"].concat();
    assert_eq!(left(&all(), "image/png", &picture).unwrap().0, picture);
    let zeros = b"\x7fELF\0\0 bin".to_vec();
    assert_eq!(left(&all(), "application/octet-stream", &zeros).unwrap().0, zeros);
}

#[test]
fn records_and_lines_of_json_are_searched_behind_their_escapes() {
    let one = r#"{"to": "ann\u0040example.com"}"#;
    let redacted = r#"{"to":"[redacted:email]"}"#;
    for (kind, body, expected) in [
        ("application/json-seq", format!("\x1e{one}\n\x1e 7\n"), format!("\x1e{redacted}\n\x1e 7\n")),
        ("application/geo+json-seq", format!("\x1e{one}"), format!("\x1e{redacted}")),
        // A record goes over lines.
        ("application/json-seq", format!("\x1e{}\n", one.replace(' ', "\n")), format!("\x1e{redacted}\n")),
        (
            "application/json-seq",
            "\x1e\x1e[]\n\x1e4111111111111111\n".into(),
            "\x1e\x1e[]\n\x1e\"[redacted:card]\"\n".into(),
        ),
        ("application/x-ndjson", format!("{one}\r\n\n 1\n{one}"), format!("{redacted}\r\n\n 1\n{redacted}")),
        ("application/jsonl", format!("\u{feff}{one}\n"), format!("\u{feff}{redacted}\n")),
        ("application/x-json-stream", "4111111111111111\n".into(), "\"[redacted:card]\"\n".into()),
    ] {
        let (out, _) = left(&all(), kind, body.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), expected, "{kind}");
    }
    // A record goes on when it has come, not only when the next one has.
    let mut stream = Stream::of(all(), "application/json-seq").unwrap();
    assert_eq!(stream.push(b"\x1e{\"a\":").unwrap(), b"");
    assert_eq!(stream.push(b"1}\n").unwrap(), b"\x1e{\"a\":1}\n");
}

#[test]
fn the_data_of_an_event_may_go_over_lines() {
    for (body, expected) in [
        ("data: {\"to\":\ndata: \"ann\\u0040example.com\"}\n\n", "data: {\"to\":\"[redacted:email]\"}\n\n"),
        // Whatever stands between, and however lines end.
        (
            "id: 1\rdata: {\"to\":\r\nevent: note\r\n:ann@example.com\r\ndata:\"ann\\u0040example.com\"\rdata\ndata:}\r\r",
            "id: 1\rdata: {\"to\":\"[redacted:email]\"}\revent: note\r\n:[redacted:email]\r\n\r",
        ),
        // No end of a line becomes a half of another.
        ("data: [\rdata: \"ann\\u0040example.com\"]\n\n", "data: [\"[redacted:email]\"]\n\n"),
        ("data: to\ndata: ann@example.com\n\n: ping\n\n", "data: to\ndata: [redacted:email]\n\n: ping\n\n"),
        ("data: [DONE]\n\ndata: {\"a\":  1}\n\n", "data: [DONE]\n\ndata: {\"a\":  1}\n\n"),
        ("\u{feff}data: [\ndata: \"ann\\u0040example.com\"]", "\u{feff}data: [\"[redacted:email]\"]"),
    ] {
        let (out, _) = left(&all(), "text/event-stream", body.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), expected, "{body:?}");
    }
    let long = format!("data: a\n{}", "data: bbbbbbbb\n".repeat(100_000));
    assert_eq!(Stream::new(all(), Layout::Events).push(long.as_bytes()), Err(Unsearchable::Long));
}

#[test]
fn what_withholds_does_so_where_something_else_is_redacted() {
    let mut detect = only(Kind::NamedSecret);
    detect.set(Kind::GithubToken, Level::Withhold);
    detect.set(Kind::Email, Level::Redact);
    let token = format!("ghp_{}", drawn(36));
    for mut value in [
        json!({ "access_token": token.clone() }),
        json!({ "Authorization": format!("Bearer {token}") }),
        json!({ "text": format!("token: {token}") }),
        json!({ "tokens": ["x", token.clone()] }),
    ] {
        let before = value.clone();
        let mut found = Found::default();
        assert!(detect.value(&mut value, &mut found));
        assert_eq!(found.withheld(&detect), [Kind::GithubToken], "{before}");
    }
    // What is kept back no more strictly is one thing.
    let mut found = Found::default();
    detect.value(&mut json!({"password": "ann@example.com1"}), &mut found);
    assert_eq!(found.to_value(), json!({"named_secret": 1}));
}

#[test]
fn json_in_a_text_is_searched_behind_its_escapes() {
    let mut value =
        json!({"text": r#"{"to": "ann\u0040example.com", "n": [1, "{\"a\": \"\\u002b49 30 901820\"}"]}"#});
    assert!(all().value(&mut value, &mut Found::default()));
    assert_eq!(value["text"], r#"{"n":[1,"{\"a\":\"[redacted:phone]\"}"],"to":"[redacted:email]"}"#);
    // As it came, where nothing is found or it is none.
    for text in [r#"{"a":  "\u00e9"}"#, r#"{"a": "\u0040"#, r#"[x "ann\u0040example.com"]"#] {
        assert!(!all().value(&mut json!(text), &mut Found::default()), "{text}");
    }
}

#[test]
fn a_key_is_one_whatever_stands_before_its_lines() {
    let key = key();
    let each = |mark: &dyn Fn(usize) -> String, after: &str| {
        let lines = key.lines().enumerate().map(|(number, line)| format!("{}{line}{after}", mark(number)));
        lines.collect::<Vec<_>>().join("\n")
    };
    let forms: Vec<(String, &str)> = vec![
        (each(&|_| "+".into(), ""), "+"),
        (each(&|_| "-".into(), ""), "-"),
        (each(&|number| format!("{:>6}\t", number + 7), ""), "     7\t"),
        (each(&|number| format!("{:>4}→", number + 7), ""), "   7→"),
        (each(&|number| format!("{}: ", number + 98), ""), "98: "),
        (each(&|number| format!(" {} | ", number + 7), ""), " 7 | "),
        (each(&|_| "// ".into(), ""), "// "),
        (each(&|_| " * ".into(), ""), " * "),
        (each(&|_| "# ".into(), "  "), "# "),
        (each(&|_| "    \"".into(), "\\n\" +"), "    \""),
        (each(&|_| "'".into(), "',"), "'"),
    ];
    for (text, before) in &forms {
        let whole = format!("see\n{text}\nHello, this is not of it.\n");
        let out = redacted(&whole);
        assert!(out.starts_with(&format!("see\n{before}[redacted:private_key]")), "{whole}\n{out}");
        assert!(out.ends_with("Hello, this is not of it.\n"), "{out}");
        assert!(!out.contains(&drawn(12)) && !out.contains("ab==") && !out.contains("END"), "{whole}\n{out}");
        assert_eq!(kinds(&whole), [("private_key", 1)], "{whole}");
        // A stream has it in pieces.
        let (pieces, _) = left(&all(), "text/plain", whole.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&pieces), out);
        // Escaped, as in a text within a text; quotes are escaped themselves then, and end what is quoted.
        if before.contains(['"', '\'']) {
            continue;
        }
        let escaped = Value::from(whole.as_str()).to_string();
        assert!(!redacted(&escaped).contains(&drawn(12)), "{escaped}\n{}", redacted(&escaped));
    }
    // The old one and the new one, and words before what is long enough.
    let changed: Vec<String> =
        key.lines().flat_map(|line| [format!("-{line}"), format!("+{line}")]).collect();
    assert!(!redacted(&changed.join("\n")).contains(&drawn(12)), "{}", redacted(&changed.join("\n")));
    let blamed = each(&|number| format!("^1234abc (Ann Lee 2026-11-23 {number}) "), "");
    assert!(!redacted(&blamed).contains(&drawn(12)), "{}", redacted(&blamed));
    // A list below a key that was cut off is none of it.
    let cut = format!("{}\n- one thing\n- another\n", key.lines().take(2).collect::<Vec<_>>().join("\n"));
    assert!(redacted(&cut).ends_with("- one thing\n- another\n"), "{}", redacted(&cut));
}

#[test]
fn what_is_in_base64_is_looked_into_or_kept_back() {
    let encoded = |bytes: &[u8]| STANDARD.encode(bytes);
    let look = |detect: &Detect, text: &str, kind: &str| {
        let mut found = Found::default();
        let left = detect.encoded(text, kind, &mut found)?;
        let left = left.map(|left| STANDARD.decode(left).unwrap());
        Ok::<_, Unsearchable>((left, found.to_value()))
    };
    let mail = "to ann@example.com";
    let expected = (Some(b"to [redacted:email]".to_vec()), json!({"email": 1}));
    for (text, kind) in [
        (encoded(mail.as_bytes()), "text/plain"),
        (encoded(mail.as_bytes()), ""),
        // What it says to be changes nothing about what it is.
        (encoded(mail.as_bytes()), "image/png"),
        (
            encoded(mail.as_bytes()).trim_end_matches('=').replace('+', "-").replace('/', "_"),
            "application/octet-stream",
        ),
        (encoded(mail.as_bytes()).chars().flat_map(|letter| [letter, '\n']).collect(), "text/markdown"),
    ] {
        assert_eq!(look(&all(), &text, kind).unwrap(), expected, "{kind}: {text}");
    }
    let wide = look(&all(), &encoded(&little(&format!("\u{feff}{mail}"))), "").unwrap();
    assert_eq!(wide.0, Some(little("\u{feff}to [redacted:email]")));
    let json =
        look(&all(), &encoded(br#"{"to": "ann\u0040example.com"}"#), "application/json; charset=utf-8")
            .unwrap();
    assert_eq!(json.0, Some(br#"{"to":"[redacted:email]"}"#.to_vec()));
    let nothing = (None, json!({}));
    let picture = encoded(&[0x89, b'P', b'N', b'G', 13, 10, 26, 10, 0, 0, 0, 13]);
    for (text, kind) in
        [("", "text/plain"), (&picture, "image/png"), ("not base64!", ""), (&encoded(b"plain"), "text/plain")]
    {
        assert_eq!(look(&all(), text, kind).unwrap(), nothing, "{kind}");
    }
    // What says to be text, and can't be searched, is kept back by whatever is looked for.
    for (bytes, kind) in [
        (&b"{\"a\": 1, \"a\": 2}"[..], "application/json"),
        (b"a\0b", "text/plain"),
        (b"a", "text/plain; charset=utf-7"),
    ] {
        assert!(look(&all(), &encoded(bytes), kind).is_err(), "{kind}");
    }
    // What is no text, where something withholds.
    let mut detect = all();
    detect.set(Kind::Jwt, Level::Withhold);
    assert_eq!(look(&detect, &picture, "image/png"), Err(Unsearchable::Closed));
    assert_eq!(look(&detect, "not base64!", ""), Err(Unsearchable::Closed));
    assert_eq!(look(&detect, &encoded(mail.as_bytes()), "").unwrap(), expected);
}
