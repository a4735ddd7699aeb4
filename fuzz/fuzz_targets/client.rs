//! URIs and documents of clients: a redirect URI that is taken means the same to the parser that browsers use, the answer
//! behind it says the parameters and leads to the same place; and documents that are read are written and read the same.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    authorize,
    client::{Author, Metadata, RedirectKind, RedirectUri, document},
    json,
};
use serde_json::Value;
use url::Url;

fn redirect(text: &str) {
    let Ok(uri) = RedirectUri::parse(text) else { return };
    assert_eq!(RedirectUri::parse(uri.as_str()).as_ref(), Ok(&uri));
    assert!(uri.permits(text));
    let Ok(theirs) = Url::parse(text) else {
        // Browsers go nowhere: a name that only looks like one in another script, or a form of a private scheme.
        assert!(uri.kind() == RedirectKind::PrivateUse || is_punycode(text), "browsers read `{text}`");
        return;
    };
    assert!(theirs.username().is_empty() && theirs.password().is_none() && theirs.fragment().is_none());
    if uri.kind() != RedirectKind::PrivateUse {
        let host = theirs.host_str().expect("a host");
        let ours = uri.host().to_ascii_lowercase();
        // Addresses in brackets have several spellings.
        assert!(host == ours || ours.starts_with('['), "`{text}` leads to `{host}` and not `{ours}`");
    }
    let answered = authorize::redirect::answer(&uri, &[("code", "a b&c=d#e"), ("state", "é\n")]);
    let answered = Url::parse(&answered).expect("the answer is a URI");
    assert_eq!(answered.host_str(), theirs.host_str());
    assert_eq!(answered.port(), theirs.port());
    assert_eq!(answered.path(), theirs.path());
    let pairs: Vec<(String, String)> = answered.query_pairs().into_owned().collect();
    assert!(pairs.contains(&("code".to_owned(), "a b&c=d#e".to_owned())));
    assert!(pairs.contains(&("state".to_owned(), "é\n".to_owned())));
}

/// Whether a label may be one of RFC 5891, which is no name where it decodes to none; that is the resolver's to say here.
fn is_punycode(text: &str) -> bool {
    text.to_ascii_lowercase().contains("xn--")
}

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    redirect(data);
    if document::check_url(data).is_ok() && !is_punycode(data) && !data.contains('[') {
        let theirs = Url::parse(data).expect("browsers read it");
        assert_eq!(theirs.as_str(), data, "it has one spelling");
    }
    let url = "https://app.example/c";
    let Ok(metadata) = document::read(url, data.as_bytes()) else { return };
    assert!(metadata.redirect_uris.iter().all(|uri| RedirectUri::parse(uri.as_str()).is_ok()));
    let Ok(Value::Object(members)) = json::parse(data.as_bytes()) else { panic!("it was read") };
    assert_eq!(members.get("client_id").and_then(Value::as_str), Some(url));
    let again = Metadata::read(&metadata.to_members(), Author::Document).expect("what is written is read");
    assert_eq!(again.to_members(), metadata.to_members());
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
