//! Passkeys, over HTTP, with an authenticator in software: added, used, removed; and every way in which an answer can be
//! wrong, each alone.

use super::person::{Person, begun, stage};
use crate::{
    authorize::browser::{App, BACK, Browser, hidden, html, sent_to},
    faults::clock::Clock,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_testkit::{
    Answer, Asserted, Authenticator, BACKED_UP, Created, ELIGIBLE, PRESENT, Signs, Story, VERIFIED,
    attestation, cose, password, together,
};
use serde_json::json;
use std::collections::BTreeMap;

type Members = Vec<(&'static str, String)>;

/// The form of a page with these members in place of its own.
fn filled(page: &Answer, action: &str, members: &Members) -> BTreeMap<String, String> {
    let mut form: BTreeMap<String, String> = hidden(page, action).into_iter().collect();
    form.extend(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    form
}

fn send(browser: &mut Browser, page: &Answer, action: &str, members: &Members) -> Answer {
    let form = filled(page, action, members);
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post(action, &form)
}

/// The page on which a browser is asked for a new passkey; its challenge, and what the authenticator is to know the
/// person by.
fn asked(person: &Person<'_>, browser: &mut Browser) -> (Answer, String, Vec<u8>) {
    let account = browser.get("/account").expect(200);
    let right = password(&person.name);
    let page = browser.submit(&account, "/account/passkeys", &[("password", &right)]).expect(200);
    let (challenge, user) = (data(&page, "challenge"), data(&page, "user"));
    (page, challenge, URL_SAFE_NO_PAD.decode(user).unwrap())
}

/// A data attribute of a page's question.
fn data(page: &Answer, name: &str) -> String {
    let html = html(page);
    let rest = html.split_once(&format!("data-{name}=\"")).unwrap_or_else(|| panic!("no {name}: {html}")).1;
    rest.split_once('"').unwrap().0.to_owned()
}

const ADD: &str = "/account/passkeys/add";
const ENTER: &str = "/sign-in/passkey";

fn named(created: &Created) -> Members {
    let mut form = created.form();
    form.push(("name", "My key".into()));
    form
}

/// A person with a passkey.
fn with_passkey(signs: Signs) -> (Person<'static>, Authenticator) {
    let person = Person::new();
    let key = adds(&person, signs);
    (person, key)
}

fn adds(person: &Person<'_>, signs: Signs) -> Authenticator {
    let mut browser = person.signed_in_browser();
    let (page, challenge, user) = asked(person, &mut browser);
    let mut key = Authenticator::new(signs, &person.story.server.pages());
    let created = key.create(&challenge, &user);
    assert_eq!(sent_to(&send(&mut browser, &page, ADD, &named(&created))), "/account");
    key
}

/// A browser that is asked for a passkey, and the challenge.
fn entering() -> (Browser, Answer, String) {
    entering_at(stage())
}

fn entering_at(story: &Story) -> (Browser, Answer, String) {
    let mut browser = Browser::at(&story.server.pages());
    let page = browser.get("/sign-in").expect(200);
    let challenge = data(&page, "challenge");
    (browser, page, challenge)
}

fn enters(key: &mut Authenticator) -> Answer {
    let (mut browser, page, challenge) = entering();
    let answer = key.assert(&challenge);
    send(&mut browser, &page, ENTER, &answer.form())
}

#[track_caller]
fn refused(answer: &Answer) {
    assert_eq!(answer.status, 403, "{}", html(answer));
    assert!(
        answer
            .headers
            .get("set-cookie")
            .is_none_or(|cookie| !cookie.to_str().unwrap().contains("plt_session"))
    );
}

#[test]
fn a_passkey_signs_its_person_in_without_a_name_or_a_password() {
    for signs in [Signs::Es256, Signs::EdDsa, Signs::Rs256] {
        let (person, mut key) = with_passkey(signs);
        // Also where a code is asked for beside the password: the authenticator has verified its person.
        let (_, codes) = person.enrols();
        let (mut browser, page, challenge) = entering();
        let answer = key.assert(&challenge);
        assert_eq!(sent_to(&send(&mut browser, &page, ENTER, &answer.form())), "/sign-in");
        let account = browser.get("/account").expect(200);
        assert!(html(&account).contains(&person.name) && html(&account).contains("a passkey (here)"));
        assert!(html(&account).contains("“My key”") || html(&account).contains("My key"));
        // Again, and after a consent was asked for.
        assert_eq!(sent_to(&enters(&mut key)), "/sign-in");
        let shown = person.client().get("/v1/account").send().expect(200);
        assert_eq!(shown.at("/passkeys/0/name"), "My key");
        assert!(shown.at("/passkeys/0/used").is_string());
        let id = shown.text("/passkeys/0/id");
        assert_eq!(person.recorded("user.passkey_added")["by"], person.id.as_str());
        // Removed, it opens nothing.
        let path = format!("/v1/account/passkeys/{id}/remove");
        person.asks(&path, None, &json!({})).refused(401, "second_factor_required");
        Person::new().asks(&path, None, &json!({})).refused(404, "not_found");
        person.asks(&path, Some(&codes[0]), &json!({})).expect(204);
        person.recorded("user.passkey_removed");
        refused(&enters(&mut key));
    }
}

#[test]
fn a_person_who_came_to_consent_goes_on_with_a_passkey() {
    let (person, mut key) = with_passkey(Signs::Es256);
    let app = App::on(person.story, &json!({"redirect_uris": [BACK]}));
    let mut browser = person.browser();
    let page = browser.get(&app.asking().path()).expect(200);
    let answer = key.assert(&data(&page, "challenge"));
    let onward = sent_to(&send(&mut browser, &page, ENTER, &answer.form()));
    assert!(onward.starts_with("/oauth/authorize?"), "{onward}");
    assert!(html(&browser.get(&onward).expect(200)).contains("action=\"/consent\""));
    // On the page of consent there is no script.
    let policy = browser.get(&onward).header("content-security-policy").unwrap().to_owned();
    assert!(!policy.contains("script"), "{policy}");
}

#[test]
fn the_script_is_one_file_of_the_pages_and_nothing_else_runs() {
    let mut browser = Browser::at(&stage().server.pages());
    let page = browser.get("/sign-in").expect(200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'"),
        "{policy}"
    );
    let text = html(&page);
    assert_eq!(text.matches("<script").count(), 1);
    assert!(text.contains("<script src=\"/passkey.js\" defer></script>"), "{text}");
    assert!(!text.contains("onclick") && !text.contains("style="));
    // Without it there is the password, and nothing of passkeys to be seen.
    assert!(text.contains("<div hidden data-passkey=\"get\""), "{text}");
    let script = browser.get("/passkey.js").expect(200);
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(script.header("x-content-type-options"), Some("nosniff"));
    // Where the pages have no name, browsers know no passkeys.
    let mut nameless = Browser::new();
    let page = nameless.get("/sign-in").expect(200);
    assert!(
        !html(&page).contains("passkey")
            && !page.header("content-security-policy").unwrap().contains("script")
    );
}

/// What is wrong with a passkey that is added, and what the page then says.
#[test]
fn a_passkey_that_is_not_what_was_asked_for_is_not_added() {
    let person = Person::new();
    let mut browser = person.signed_in_browser();
    let origin = person.story.server.pages();
    let mut refuses = |what: &str, said: &str, make: &dyn Fn(&mut Authenticator, &str, &[u8]) -> Created| {
        let (page, challenge, user) = asked(&person, &mut browser);
        let mut key = Authenticator::new(Signs::Es256, &origin);
        let answer = send(&mut browser, &page, ADD, &named(&make(&mut key, &challenge, &user)));
        assert_eq!(answer.status, 403, "{what}: {}", html(&answer));
        assert!(html(&answer).contains(said), "{what}: {}", html(&answer));
        let shown = person.client().get("/v1/account").send().expect(200);
        assert_eq!(shown.at("/passkeys"), &json!([]), "{what}");
    };
    let client = |change: &'static dyn Fn(String) -> String| {
        move |key: &mut Authenticator, challenge: &str, user: &[u8]| {
            let created = key.create(challenge, user);
            let text = change(String::from_utf8(created.client_data).unwrap());
            Created { client_data: text.into_bytes(), ..created }
        }
    };
    refuses("type", "another operation", &client(&|text| text.replace("webauthn.create", "webauthn.get")));
    refuses("challenge", "another challenge", &|key, _, user| {
        key.create(&URL_SAFE_NO_PAD.encode([7; 56]), user)
    });
    refuses(
        "crossOrigin",
        "another origin",
        &client(&|text| text.replace("\"crossOrigin\":false", "\"crossOrigin\":true")),
    );
    refuses(
        "crossOrigin as text",
        "another origin",
        &client(&|text| text.replace("\"crossOrigin\":false", "\"crossOrigin\":\"no\"")),
    );
    refuses(
        "topOrigin",
        "another origin",
        &client(&|text| {
            text.replace("\"crossOrigin\"", "\"topOrigin\":\"http://evil.example\",\"crossOrigin\"")
        }),
    );
    refuses(
        "two origins",
        "can't be read",
        &client(&|text| {
            text.replace("\"crossOrigin\"", "\"origin\":\"http://evil.example\",\"crossOrigin\"")
        }),
    );
    refuses("no origin", "can't be read", &client(&|text| text.replace("\"origin\"", "\"from\"")));
    refuses("more behind", "can't be read", &client(&|text| format!("{text}{{}}")));
    for wrong in
        ["http://evil.example", "https://localhost", "http://localhost", "http://localhost:1", "null"]
    {
        refuses(wrong, "another origin", &|key, challenge, user| {
            key.origin = wrong.into();
            key.create(challenge, user)
        });
    }
    let slashed = format!("{origin}/");
    refuses("a slash", "another origin", &|key, challenge, user| {
        key.origin.clone_from(&slashed);
        key.create(challenge, user)
    });
    for wrong in ["evil.example", "sub.localhost", "", "LOCALHOST"] {
        refuses(wrong, "another site", &|key, challenge, user| {
            key.rp_id = wrong.into();
            key.create(challenge, user)
        });
    }
    for (what, flags, said) in [
        ("nobody", 0, "who was there"),
        ("present only", PRESENT, "who was there"),
        ("verified only", VERIFIED, "who was there"),
        ("copied but not copyable", PRESENT | VERIFIED | BACKED_UP, "contradicts"),
    ] {
        refuses(what, said, &|key, challenge, user| {
            key.flags = flags;
            key.create(challenge, user)
        });
    }
    let stated = |change: &'static dyn Fn(&Authenticator) -> Vec<u8>| {
        move |key: &mut Authenticator, challenge: &str, user: &[u8]| {
            let created = key.create(challenge, user);
            Created { attestation: attestation(&change(key)), ..created }
        }
    };
    refuses("no credential", "can't be read", &stated(&|key| key.data()));
    refuses(
        "more behind the key",
        "can't be read",
        &stated(&|key| [key.data_with(&key.public_key()), vec![0]].concat()),
    );
    refuses(
        "extensions that are none",
        "too early",
        &stated(&|key| {
            let mut data = key.data_with(&key.public_key());
            data[32] |= 1 << 7;
            data
        }),
    );
    refuses("cut", "can't be read", &stated(&|key| key.data_with(&key.public_key())[..54].to_vec()));
    refuses(
        "a cut key",
        "too early",
        &stated(&|key| {
            let data = key.data_with(&key.public_key());
            data[..data.len() - 1].to_vec()
        }),
    );
    refuses("more behind the object", "follows", &|key, challenge, user| {
        let mut created = key.create(challenge, user);
        created.attestation.push(0);
        created
    });
    refuses("a statement with none", "attestation", &|key, challenge, user| {
        let mut created = key.create(challenge, user);
        let place = created.attestation.windows(8).position(|part| part == b"attStmt\xa0").unwrap();
        created.attestation.splice(place + 7..=place + 7, [0xa1, 0x61, b'x', 0]);
        created
    });
    // Keys of another kind, of another algorithm than their kind's, off the curve, too weak.
    let (x, n) = ([7u8; 32], [0xc5u8; 256]);
    let keys: [(&str, Vec<u8>); 9] = [
        ("symmetric", cose(&[(1, 4), (3, 5)], &[(-1, &x)])),
        ("P-256 with EdDSA", cose(&[(1, 2), (3, -8), (-1, 1)], &[(-2, &x), (-3, &x)])),
        ("Ed25519 with ES256", cose(&[(1, 1), (3, -7), (-1, 6)], &[(-2, &x)])),
        ("off the curve", cose(&[(1, 2), (3, -7), (-1, 1)], &[(-2, &x), (-3, &x)])),
        ("P-384's number", cose(&[(1, 2), (3, -7), (-1, 2)], &[(-2, &x), (-3, &x)])),
        ("RSA with PSS", cose(&[(1, 3), (3, -37)], &[(-1, &n), (-2, &[1, 0, 1])])),
        ("RSA of 1024 bits", cose(&[(1, 3), (3, -257)], &[(-1, &n[..128]), (-2, &[1, 0, 1])])),
        ("exponent 1", cose(&[(1, 3), (3, -257)], &[(-1, &n), (-2, &[1])])),
        ("no algorithm", cose(&[(1, 1), (-1, 6)], &[(-2, &x)])),
    ];
    for (what, bytes) in &keys {
        refuses(what, "not one of ES256, EdDSA, RS256", &|key, challenge, user| {
            let created = key.create(challenge, user);
            Created { attestation: attestation(&key.data_with(bytes)), ..created }
        });
    }
    refuses("more in the key", "not one of", &|key, challenge, user| {
        let created = key.create(challenge, user);
        let mut bytes = key.public_key();
        bytes[0] += 1;
        bytes.extend([4, 0x81, 2]);
        Created { attestation: attestation(&key.data_with(&bytes)), ..created }
    });
    for length in [0, 1024] {
        refuses("a credential's id", "1 to 1023 bytes", &|key, challenge, user| {
            key.credential = vec![1; length];
            key.create(challenge, user)
        });
    }
}

#[test]
fn a_challenge_for_a_passkey_is_good_once_in_its_session_and_for_its_purpose() {
    let person = Person::new();
    let mut browser = person.signed_in_browser();
    let origin = person.story.server.pages();
    let make = || Authenticator::new(Signs::EdDsa, &origin);
    // Not without showing who it is once more.
    let account = browser.get("/account").expect(200);
    let wrong =
        browser.submit(&account, "/account/passkeys", &[("password", "a wrong password, long enough")]);
    assert!(wrong.status == 403 && !html(&wrong).contains("data-challenge"));
    let (page, challenge, user) = asked(&person, &mut browser);
    // Of the same answer at once, and of two passkeys for one challenge, one is added.
    let created: Vec<Created> = (0..4).map(|_| make().create(&challenge, &user)).collect();
    let forms: Vec<_> = created.iter().map(|created| filled(&page, ADD, &named(created))).collect();
    let answers = together(4, |number| {
        let form: Vec<(&str, &str)> =
            forms[number].iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        browser.posting(ADD, &form).send().status
    });
    assert_eq!(answers.iter().filter(|status| **status == 303).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 403).count(), 3, "{answers:?}");
    // A challenge of another session, of the sign-in page, and one that nobody made.
    let again = person.signs_in(None).expect(201).text("/token");
    let mut second = person.browser();
    second.cookies.insert("placet".into(), again);
    let (_, elsewhere, _) = asked(&person, &mut second);
    let (_, _, of_sign_in) = entering();
    for foreign in [elsewhere, of_sign_in, URL_SAFE_NO_PAD.encode([9; 56]), String::new()] {
        let (page, ..) = asked(&person, &mut browser);
        let mut form = named(&make().create(&foreign, &user));
        form.push(("challenge", foreign));
        assert_eq!(send(&mut browser, &page, ADD, &form).status, 403);
    }
    // A credential that is registered, whoever has it, is nobody else's.
    let mut key = make();
    let (page, challenge, user) = asked(&person, &mut browser);
    send(&mut browser, &page, ADD, &named(&key.create(&challenge, &user))).expect(303);
    let other = Person::new();
    let mut theirs = other.signed_in_browser();
    let (page, challenge, handle) = asked(&other, &mut theirs);
    let twice = send(&mut theirs, &page, ADD, &named(&key.create(&challenge, &handle)));
    assert_eq!(twice.status, 403);
    assert!(html(&twice).contains("registered already"), "{}", html(&twice));
    // A name has an end, and is no markup; what controls a terminal is none.
    for name in ["", "   ", &"x".repeat(65), "a\u{1b}[2Jb", "a\nb"] {
        let (page, challenge, user) = asked(&person, &mut browser);
        let mut form = make().create(&challenge, &user).form();
        form.push(("name", name.to_owned()));
        assert_eq!(send(&mut browser, &page, ADD, &form).status, 403);
    }
    let (page, challenge, user) = asked(&person, &mut browser);
    let mut form = make().create(&challenge, &user).form();
    form.push(("name", "<b>\u{202e}x".to_owned()));
    send(&mut browser, &page, ADD, &form).expect(303);
    let account = browser.get("/account").expect(200);
    assert!(!html(&account).contains("<b>") && !html(&account).contains('\u{202e}'));
    // Where there is an app, its code is wanted for another passkey, too.
    let (_, codes) = person.enrols();
    let account = browser.get("/account").expect(200);
    let right = password(&person.name);
    let without = browser.submit(&account, "/account/passkeys", &[("password", &right)]);
    assert_eq!(without.status, 403);
    let with = [("password", right.as_str()), ("code", codes[0].as_str())];
    browser.submit(&account, "/account/passkeys", &with).expect(200);
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_signs_nobody_in() {
    let (person, mut key) = with_passkey(Signs::Es256);
    let (other, mut others) = with_passkey(Signs::EdDsa);
    let (_, mut rsa) = with_passkey(Signs::Rs256);
    let mut refuses = |what: &str, make: &mut dyn FnMut(&mut Authenticator, &str) -> Asserted| {
        let (mut browser, page, challenge) = entering();
        let answer = make(&mut key, &challenge);
        let answer = send(&mut browser, &page, ENTER, &answer.form());
        assert_eq!(answer.status, 403, "{what}: {}", html(&answer));
        assert!(!browser.cookies.contains_key("placet"), "{what}");
        // The same words for all.
        assert!(html(&answer).contains("not known here"), "{what}: {}", html(&answer));
    };
    /// Signed as it is, over client data that are changed.
    fn saying(key: &mut Authenticator, challenge: &str, from: &str, to: &str) -> Asserted {
        let answer = key.assert(challenge);
        let text = String::from_utf8(answer.client_data.clone()).unwrap().replace(from, to);
        let signature = key.sign(&answer.authenticator_data, text.as_bytes());
        Asserted { client_data: text.into_bytes(), signature, ..answer }
    }
    /// The same with data that are changed.
    fn stating(key: &mut Authenticator, challenge: &str, change: &dyn Fn(&mut Vec<u8>)) -> Asserted {
        let mut answer = key.assert(challenge);
        change(&mut answer.authenticator_data);
        let signature = key.sign(&answer.authenticator_data, &answer.client_data);
        Asserted { signature, ..answer }
    }
    refuses("type", &mut |key, challenge| saying(key, challenge, "webauthn.get", "webauthn.create"));
    refuses("another challenge", &mut |key, _| key.assert(&URL_SAFE_NO_PAD.encode([7; 56])));
    refuses("padded challenge", &mut |key, challenge| {
        saying(key, challenge, challenge, &format!("{challenge}="))
    });
    refuses("origin", &mut |key, challenge| {
        saying(key, challenge, "http://localhost", "http://evil.example")
    });
    refuses("scheme", &mut |key, challenge| saying(key, challenge, "http://", "https://"));
    refuses("frame", &mut |key, challenge| saying(key, challenge, ":false", ":true"));
    refuses("top origin", &mut |key, challenge| {
        saying(key, challenge, "\"crossOrigin\"", "\"topOrigin\":\"http://evil.example\",\"crossOrigin\"")
    });
    refuses("no JSON", &mut |key, challenge| saying(key, challenge, "}", ""));
    refuses("relying party", &mut |key, challenge| stating(key, challenge, &|data| data[0] ^= 1));
    refuses("nobody there", &mut |key, challenge| stating(key, challenge, &|data| data[32] &= !PRESENT));
    refuses("not verified", &mut |key, challenge| stating(key, challenge, &|data| data[32] &= !VERIFIED));
    refuses("copyable now", &mut |key, challenge| stating(key, challenge, &|data| data[32] |= ELIGIBLE));
    refuses("copied now", &mut |key, challenge| stating(key, challenge, &|data| data[32] |= BACKED_UP));
    refuses("more behind", &mut |key, challenge| stating(key, challenge, &|data| data.push(0)));
    refuses("a credential in it", &mut |key, challenge| {
        let answer = key.assert(challenge);
        let data = key.data_with(&key.public_key());
        let signature = key.sign(&data, &answer.client_data);
        Asserted { authenticator_data: data, signature, ..answer }
    });
    refuses("cut", &mut |key, challenge| stating(key, challenge, &|data| data.truncate(36)));
    refuses("signature", &mut |key, challenge| {
        let mut answer = key.assert(challenge);
        *answer.signature.last_mut().unwrap() ^= 1;
        answer
    });
    refuses("no signature", &mut |key, challenge| Asserted {
        signature: Vec::new(),
        ..key.assert(challenge)
    });
    refuses("signed over something else", &mut |key, challenge| {
        let answer = key.assert(challenge);
        Asserted { signature: key.sign(&answer.authenticator_data, b"{}"), ..answer }
    });
    // Another's key under this credential, this one's under another's; no person, another person.
    for another in [&mut others, &mut rsa] {
        refuses("another's signature", &mut |key, challenge| {
            let answer = another.assert(challenge);
            Asserted { credential: key.credential.clone(), user_handle: key.user_handle.clone(), ..answer }
        });
    }
    let (handle, credential) = (others.user_handle.clone(), others.credential.clone());
    refuses("another's credential", &mut |key, challenge| Asserted {
        credential: credential.clone(),
        ..key.assert(challenge)
    });
    refuses("another person", &mut |key, challenge| Asserted {
        user_handle: handle.clone(),
        ..key.assert(challenge)
    });
    refuses("no person", &mut |key, challenge| Asserted { user_handle: Vec::new(), ..key.assert(challenge) });
    refuses("unknown", &mut |key, challenge| Asserted { credential: vec![5; 32], ..key.assert(challenge) });
    refuses("no credential", &mut |key, challenge| Asserted {
        credential: Vec::new(),
        ..key.assert(challenge)
    });
    // A counter that stands still or goes back: a copy. That is said to whoever runs the server.
    key.count += 10;
    assert_eq!(sent_to(&enters(&mut key)), "/sign-in");
    for back in [1, 5, 1000] {
        let count = key.count;
        key.count = count.saturating_sub(back);
        refused(&enters(&mut key));
        key.count = count;
    }
    key.count = 0;
    refused(&enters(&mut key));
    assert!(person.story.server.log().contains("counter did not rise"));
    // One that never counts is good for ever.
    others.count += 1;
    assert_eq!(sent_to(&enters(&mut others)), "/sign-in");
    assert!(other.is_signed_in());
}

#[test]
fn an_authenticator_that_does_not_count_is_taken_and_begins_to_count_once() {
    let person = Person::new();
    let mut browser = person.signed_in_browser();
    let (page, challenge, user) = asked(&person, &mut browser);
    let mut key = Authenticator::new(Signs::Es256, &person.story.server.pages());
    key.count = 0;
    key.flags |= ELIGIBLE;
    send(&mut browser, &page, ADD, &named(&key.create(&challenge, &user))).expect(303);
    key.flags |= BACKED_UP;
    for _ in 0..2 {
        assert_eq!(sent_to(&enters(&mut key)), "/sign-in");
    }
    key.count = 1;
    assert_eq!(sent_to(&enters(&mut key)), "/sign-in");
    key.count = 0;
    refused(&enters(&mut key));
}

#[test]
fn an_answer_is_good_once_and_in_the_browser_that_was_asked() {
    let (_, mut key) = with_passkey(Signs::Es256);
    let (browser, page, challenge) = entering();
    let answer = key.assert(&challenge);
    let form = filled(&page, ENTER, &answer.form());
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // In another browser, with its own form and cookie, or with the first one's.
    let (mut other, others, _) = entering();
    let mut stolen = answer.form();
    stolen.push(("challenge", challenge.clone()));
    refused(&send(&mut other, &others, ENTER, &stolen));
    refused(&other.post(ENTER, &form));
    refused(&Browser::at(&stage().server.pages()).post(ENTER, &form));
    let cross = browser.posting(ENTER, &form).header("sec-fetch-site", "cross-site").send();
    refused(&cross);
    // By many at once: one. The counter, which has not risen, is not what refuses the others.
    let answers = together(6, |_| browser.posting(ENTER, &form).send());
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 303);
    assert_eq!(won.len(), 1);
    lost.iter().for_each(refused);
    refused(&browser.posting(ENTER, &form).send());
    key.count = 5000;
    let mut again = key.assert(&challenge).form();
    again.push(("challenge", challenge));
    let mut browser = browser;
    refused(&send(&mut browser, &page, ENTER, &again));
    // One that was made for adding is none for signing in.
    let person = Person::new();
    let (_, of_adding, _) = asked(&person, &mut person.signed_in_browser());
    let mut form = key.assert(&of_adding).form();
    form.push(("challenge", of_adding));
    refused(&send(&mut browser, &page, ENTER, &form));
}

#[test]
fn who_has_lost_everything_loses_their_passkeys_by_an_administrator() {
    let (person, mut key) = with_passkey(Signs::EdDsa);
    let path = format!("/v1/users/{}/reset-factors", person.id);
    let body = json!({"password": password("ada")});
    person.story.admin().post(&path).json(&body).send().expect(204);
    refused(&enters(&mut key));
    person.signs_in(None).expect(201);
}

#[test]
fn what_is_begun_is_finished_in_time_or_begun_again() {
    let clock = Clock::at_noon();
    // The time of day that it is, which the authenticator app goes by, too.
    let zero = placet_server::clock::Clock::System.now().as_seconds().rem_euclid(86_400) - 43_200;
    clock.set(zero);
    let story = begun(clock.story());
    let person = Person::with(&story, &[]);
    let mut key = adds(&person, Signs::Es256);

    // A challenge for a passkey that is to be added: five minutes.
    for (seconds, status) in [(290, 303), (300, 403), (-10, 403)] {
        clock.set(zero);
        let mut browser = person.signed_in_browser();
        let (page, challenge, user) = asked(&person, &mut browser);
        clock.set(zero + seconds);
        let created = Authenticator::new(Signs::Es256, &story.server.pages()).create(&challenge, &user);
        assert_eq!(send(&mut browser, &page, ADD, &named(&created)).status, status, "{seconds}");
    }
    // One for signing in.
    for (seconds, status) in [(300, 403), (290, 303)] {
        clock.set(zero);
        let (mut browser, page, challenge) = entering_at(&story);
        clock.set(zero + seconds);
        let answer = key.assert(&challenge);
        assert_eq!(send(&mut browser, &page, ENTER, &answer.form()).status, status, "{seconds}");
        // Nor is one that was used good again, once it was forgotten, or the clock set back.
        clock.set(zero + 10);
        key.count += 10;
        let answer = key.assert(&challenge);
        let again = send(&mut browser, &page, ENTER, &answer.form()).status;
        assert_eq!(again, if status == 303 { 403 } else { 303 }, "{seconds}");
    }
    // The page that asks for a code after the password.
    clock.set(zero - 3);
    let (_, codes) = person.enrols();
    for (seconds, status) in [(300, 403), (290, 303)] {
        clock.set(zero);
        let (mut browser, page, _) = entering_at(&story);
        let right = password(&person.name);
        let asked =
            browser.submit(&page, "/sign-in", &[("name", &person.name), ("password", &right)]).expect(200);
        clock.set(zero + seconds);
        let answer = browser.submit(&asked, "/sign-in/code", &[("code", &codes[0])]);
        assert_eq!(answer.status, status, "{seconds}: {}", html(&answer));
    }
}
