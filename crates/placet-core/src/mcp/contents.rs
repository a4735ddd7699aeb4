//! Bytes in results of MCP servers: what is written in base64 where the protocol has contents, of tools, prompts and resources.
//!
//! Invariant: every member that the protocol has for bytes is met, in blocks of whatever type.

use serde_json::Value;

/// Shows each member that has bytes in base64, with the media type that is stated beside it.
///
/// # Errors
/// The first that `see` gives.
pub fn each_encoded<E>(
    result: &mut Value,
    see: &mut impl FnMut(&mut String, &str) -> Result<(), E>,
) -> Result<(), E> {
    each(result.get_mut("contents"), &mut |one| encoded(one, see))?;
    each(result.get_mut("content"), &mut |one| block(one, see))?;
    each(result.get_mut("messages"), &mut |message| {
        each(message.get_mut("content"), &mut |one| block(one, see))
    })
}

fn each<E>(of: Option<&mut Value>, see: &mut impl FnMut(&mut Value) -> Result<(), E>) -> Result<(), E> {
    match of {
        Some(Value::Array(all)) => all.iter_mut().try_for_each(see),
        Some(one) => see(one),
        None => Ok(()),
    }
}

fn block<E>(block: &mut Value, see: &mut impl FnMut(&mut String, &str) -> Result<(), E>) -> Result<(), E> {
    encoded(block, see)?;
    block.get_mut("resource").map_or(Ok(()), |resource| encoded(resource, see))
}

fn encoded<E>(holder: &mut Value, see: &mut impl FnMut(&mut String, &str) -> Result<(), E>) -> Result<(), E> {
    let kind = holder.get("mimeType").and_then(Value::as_str).unwrap_or_default().to_owned();
    for member in ["data", "blob"] {
        if let Some(Value::String(text)) = holder.get_mut(member) {
            see(text, &kind)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_place_for_bytes_is_met() {
        let mut result = json!({
            "contents": [{"uri": "a:1", "blob": "1", "mimeType": "text/plain"}, {"uri": "a:2", "text": "x"}],
            "content": [{"type": "image", "data": "2", "mimeType": "image/png"}, {"type": "audio", "data": "3"},
                {"type": "resource", "resource": {"uri": "a:3", "blob": "4"}}, {"type": "of tomorrow", "data": "5", "blob": "6"}],
            "messages": [{"role": "user", "content": {"type": "image", "data": "7"}},
                {"role": "user", "content": [{"type": "resource", "resource": {"blob": "8"}}]}],
            "structuredContent": {"data": "none"},
        });
        let mut met = Vec::new();
        let mut see = |text: &mut String, kind: &str| {
            met.push((text.clone(), kind.to_owned()));
            text.push('!');
            Ok::<(), ()>(())
        };
        each_encoded(&mut result, &mut see).unwrap();
        let texts: Vec<&str> = met.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["1", "2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(
            (met[0].1.as_str(), met[1].1.as_str(), met[2].1.as_str()),
            ("text/plain", "image/png", "")
        );
        assert_eq!(result["messages"][1]["content"][0]["resource"]["blob"], "8!");
        assert_eq!(result["structuredContent"]["data"], "none");
    }
}
