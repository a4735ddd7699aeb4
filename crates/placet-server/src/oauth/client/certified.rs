//! `tls_client_auth` and `self_signed_tls_client_auth`: a client proves who it is with a certificate (RFC 8705 §2).
//!
//! Invariant: a certificate that somebody certified counts by the one name that is registered, one that nobody did by a key
//! that is; neither stands for the other.

use super::assertion::unread;
use crate::{app::App, mtls::ClientCertificate, problem::OAuthError};
use placet_core::{
    client::{AuthMethod, Metadata},
    jose::KeySet,
};
use placet_identity::Unfit;

/// Whether this certificate is the client's; `keys` are the public ones that its metadata has in it.
///
/// # Errors
/// 503 `temporarily_unavailable` where the client's keys can't be read now.
pub(super) async fn is_of(
    app: &App,
    metadata: &Metadata,
    keys: Option<&KeySet>,
    shown: &ClientCertificate,
) -> Result<bool, OAuthError> {
    let unfit = match metadata.token_endpoint_auth_method {
        AuthMethod::TlsClientAuth => by_name(app, metadata, shown).err(),
        AuthMethod::SelfSignedTlsClientAuth => {
            return Ok(
                shown.certificate().is_for_clients().is_ok() && by_key(app, metadata, keys, shown).await?
            );
        }
        _ => return Ok(false),
    };
    if let Some(unfit) = unfit {
        // Whoever sent it is told nothing that they couldn't know of any client.
        tracing::info!(certificate = %shown.thumbprint(), %unfit, "a client's certificate is not good");
    }
    Ok(unfit.is_none())
}

fn by_name(app: &App, metadata: &Metadata, shown: &ClientCertificate) -> Result<(), Unfit> {
    let authorities =
        app.mutual_tls.as_ref().and_then(|here| here.authorities.as_ref()).ok_or(Unfit::Chain)?;
    let certificate = shown.certificate();
    certificate.must_have(&metadata.certified_as().ok_or(Unfit::Name)?)?;
    certificate.is_for_clients()?;
    authorities.now().certify(certificate, app.clock.now())
}

async fn by_key(
    app: &App,
    metadata: &Metadata,
    keys: Option<&KeySet>,
    shown: &ClientCertificate,
) -> Result<bool, OAuthError> {
    let Some(key) = shown.certificate().key() else { return Ok(false) };
    let thumbprint = shown.thumbprint();
    match (keys, &metadata.jwks_uri) {
        (Some(keys), _) => Ok(keys.certifies(key, thumbprint)),
        (None, Some(uri)) => {
            let certifies = app.foreign.certifies(uri, key, thumbprint, app.clock.now()).await;
            certifies.map_err(|error| unread("the client's keys can't be read", &error))
        }
        (None, None) => Ok(false),
    }
}
