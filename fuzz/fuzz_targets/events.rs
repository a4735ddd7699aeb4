//! Events as upstreams send them (`text/event-stream`): the data of each is what the standard makes of the whole text, wherever
//! pieces end, and what was read is read the same when it is written again.
#![cfg_attr(fuzzing, no_main)]

use placet_core::mcp::events::Events;

fn read(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut events = Events::default();
    pieces.iter().flat_map(|piece| events.push(piece)).collect()
}

/// What the standard says (HTML, "Interpreting an event stream"), of the whole at once: lines, then fields, then events.
fn by_the_standard(text: &[u8]) -> Vec<Vec<u8>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut one_end: Vec<u8> = Vec::new();
    let mut bytes = text.iter().peekable();
    while let Some(byte) = bytes.next() {
        if *byte == b'\r' {
            bytes.next_if(|next| **next == b'\n');
        }
        one_end.push(if *byte == b'\r' { b'\n' } else { *byte });
    }
    let mut lines: Vec<&[u8]> = one_end.split(|byte| *byte == b'\n').collect();
    lines.pop();
    let (mut events, mut buffer) = (Vec::new(), Vec::new());
    for line in lines {
        if line.is_empty() {
            if !buffer.is_empty() {
                buffer.pop();
                events.push(std::mem::take(&mut buffer));
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = colon.map_or((line, &b""[..]), |at| (&line[..at], &line[at + 1..]));
        if field == b"data" {
            buffer.extend(value.strip_prefix(b" ").unwrap_or(value));
            buffer.push(b'\n');
        }
    }
    events
}

// The first byte says how long the pieces are.
pub(crate) fn run(data: &[u8]) {
    let Some((size, text)) = data.split_first() else { return };
    let events = read(&[text]);
    assert_eq!(events, by_the_standard(text));
    let pieces: Vec<&[u8]> = text.chunks(usize::from(*size % 32) + 1).collect();
    assert_eq!(read(&pieces), events, "pieces of {size}");
    let single: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(read(&single), events, "byte by byte");
    let end = [&b"\n"[..], b"\r\n", b"\r"][usize::from(*size / 32) % 3];
    let mut written = Vec::new();
    for event in &events {
        for line in event.split(|byte| *byte == b'\n') {
            written.extend([b"data: ", line, end].concat());
        }
        written.extend_from_slice(end);
    }
    assert_eq!(read(&[&written]), events, "written again");
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
