//! Passkeys on the account page: added, listed, removed; and what a form asks a browser for (`passkey.js`).
//!
//! Invariant: the page that asks for a new passkey is given only to who has just shown who they are, and what it asks for is
//! bound to their session.

use super::{Sent, done, fresh, moment, refused, token};
use crate::{
    app::App,
    caller::SignedIn,
    pages::{form::Form, html::Page},
    people::{
        factors::Factors,
        passkeys::{self, Asserted, Created, Operation},
    },
    problem::Problem,
};
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use maud::{Markup, html};
use placet_core::{consent::quoted, refusal::Code, secret::Secret, webauthn::CredentialAlgorithm};
use std::sync::Arc;

/// `POST /account/passkeys`: the page on which the browser makes one.
pub(crate) async fn ask(State(app): State<Arc<App>>, mut sent: Sent) -> Response {
    let proven = sent.proven(&app).await;
    let Sent { person, source, .. } = sent;
    let proven = match proven {
        Ok(proven) => proven,
        Err(problem) => return refused(&app, &person, &problem).await,
    };
    let Some(rp_id) = passkeys::rp_id(&app) else {
        let nowhere = Problem::of(Code::RequestInvalid, "there are no passkeys at this address");
        return refused(&app, &person, &nowhere).await;
    };
    let known = match passkeys::begin(&app, proven, source).await {
        Ok(known) => known,
        Err(problem) => return refused(&app, &person, &problem).await,
    };
    let known: Vec<String> = known.iter().map(|one| URL_SAFE_NO_PAD.encode(&one.credential)).collect();
    let algorithms = CredentialAlgorithm::ALL.map(|one| one.number().to_string()).join(" ");
    let challenge = URL_SAFE_NO_PAD.encode(passkeys::challenge(&app, Operation::Create, &browser(&person)));
    let body = html! {
        p { "Your browser asks you for a finger, a face or a PIN, and keeps the passkey on this device or where you choose." }
        form method="post" action="/account/passkeys/add" {
            (token(&app, &person))
            input type="hidden" name="challenge" value=(challenge);
            input type="hidden" name="client_data" value="";
            input type="hidden" name="attestation" value="";
            div hidden data-passkey="create" data-challenge=(challenge) data-rp=(rp_id)
                data-user=(URL_SAFE_NO_PAD.encode(passkeys::handle(person.user.id))) data-name=(person.user.name) data-known=(known.join(" ")) data-algorithms=(algorithms) {
                label for="name" { "What you call it" }
                input type="text" id="name" name="name" required maxlength="64" value="Passkey" spellcheck="false";
                div.verdict { button.go type="submit" { "Make the passkey" } }
                p role="status" {}
            }
        }
        noscript { p { "A browser makes passkeys by a script, and this one runs none." } }
        p { a href="/account" { "Leave it" } }
    };
    Page::new("Add a passkey", body).with_passkeys().into_response()
}

/// `POST /account/passkeys/add`
pub(crate) async fn add(State(app): State<Arc<App>>, sent: Sent) -> Response {
    let Sent { person, mut form, source } = sent;
    let name = form.take("name");
    let sent = member(&form, "challenge").zip(member(&form, "client_data")).zip(member(&form, "attestation"));
    let Some(((challenge, client_data), attestation)) = sent else {
        let unreadable = Problem::of(Code::RequestInvalid, "the browser's answer can't be read");
        return refused(&app, &person, &unreadable).await;
    };
    let created = Created { name, client_data, attestation };
    let added = passkeys::add(&app, &person, &browser(&person), &challenge, created, source).await;
    done(&app, &person, added).await
}

/// `POST /account/passkeys/remove`
pub(crate) async fn remove(State(app): State<Arc<App>>, mut sent: Sent) -> Response {
    let Ok(id) = sent.form.text("passkey").parse() else {
        let none = Problem::of(Code::NotFound, "choose the passkey that is to be removed");
        return refused(&app, &sent.person, &none).await;
    };
    let removed = async { passkeys::remove(&app, sent.proven(&app).await?, id, sent.source).await };
    let removed = removed.await;
    done(&app, &sent.person, removed).await
}

/// The part of the account page.
pub(super) fn section(app: &App, person: &SignedIn, factors: &Factors) -> Markup {
    html! {
        @if passkeys::rp_id(app).is_some() {
            p { "With a passkey you sign in by a finger, a face or a PIN of your device, without a password or a code." }
            form method="post" action="/account/passkeys" {
                (token(app, person))
                (fresh(person, "passkey", factors))
                div.verdict { button type="submit" { "Add a passkey" } }
            }
        } @else {
            p { "Browsers know no passkeys at an address: the pages need an origin with a name." }
        }
        @if !factors.passkeys.is_empty() {
            form method="post" action="/account/passkeys/remove" {
                (token(app, person))
                fieldset {
                    legend { "Your passkeys" }
                    @for passkey in &factors.passkeys {
                        label {
                            input type="radio" name="passkey" value=(passkey.id) required;
                            (quoted(&passkey.name)) ", added " (moment(passkey.created))
                            @if let Some(used) = passkey.used { ", last used " (moment(used)) }
                        }
                    }
                }
                (fresh(person, "unpasskey", factors))
                div.verdict { button type="submit" { "Remove the chosen one" } }
            }
        }
    }
}

/// The form by which a person signs in with a passkey; nothing where browsers know none here. `hidden` are its other members.
pub(in crate::pages) fn sign_in(app: &App, browser: &Secret, hidden: &Markup) -> Markup {
    let Some(rp_id) = passkeys::rp_id(app) else { return html! {} };
    let challenge = URL_SAFE_NO_PAD.encode(passkeys::challenge(app, Operation::Get, browser));
    html! {
        form method="post" action="/sign-in/passkey" {
            (hidden)
            input type="hidden" name="challenge" value=(challenge);
            @for name in ["credential", "client_data", "authenticator_data", "signature", "user_handle"] {
                input type="hidden" name=(name) value="";
            }
            div hidden data-passkey="get" data-challenge=(challenge) data-rp=(rp_id) {
                div.verdict { button type="submit" { "Sign in with a passkey" } }
                p role="status" {}
            }
        }
    }
}

/// The challenge of a form and the answer to it; none where they can't be read.
pub(in crate::pages) fn answer(form: &Form) -> Option<(Vec<u8>, Asserted)> {
    let asserted = Asserted {
        credential: member(form, "credential")?,
        client_data: member(form, "client_data")?,
        authenticator_data: member(form, "authenticator_data")?,
        signature: member(form, "signature")?,
        user_handle: member(form, "user_handle")?,
    };
    Some((member(form, "challenge")?, asserted))
}

/// Bytes of a form.
fn member(form: &Form, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(form.text(name)).ok()
}

/// What a challenge for a new passkey is bound to.
fn browser(person: &SignedIn) -> Secret {
    Secret::new(person.session.to_string())
}
