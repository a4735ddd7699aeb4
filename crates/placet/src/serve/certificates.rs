//! The certificates, keys and authorities of listeners with TLS (clients' certificates, Envoy), in files that are read again
//! when they change, or at SIGHUP: what renews them needs no restart.
//!
//! The files are looked at each second, and read when something has changed and has then stayed as it is for a second, so
//! that a new certificate is not put together with the old key.
//!
//! Invariant: what can't be used replaces nothing that can; the log says so.

use placet_identity::Authorities;
use placet_server::{
    doors::ext_authz::listener as envoy,
    mtls::{Live, listener::Identity},
};
use std::{
    fmt::Display,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::sleep,
};

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);

/// Which file of which size and time something is; `None` where it is not there.
type Seen = Option<(u64, u64, i64, i64)>;

/// Files that are something together.
#[derive(Debug)]
struct Source {
    paths: Vec<PathBuf>,
    fills: Fills,
    /// What was there when it was last read.
    read: Vec<Seen>,
}

/// What it is.
#[derive(Debug)]
enum Fills {
    /// A certificate and its key.
    Identity(Live<Identity>),
    /// Authorities that certify clients.
    Authorities(Live<Authorities>),
    /// A certificate and its key, and perhaps authorities that certify callers, of the listener for Envoy.
    Envoy(Live<envoy::Identity>),
}

/// The files of a server.
#[derive(Debug, Default)]
pub(crate) struct CertificateFiles(Vec<Source>);

impl CertificateFiles {
    /// The identity that is in these files now.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn identity(&mut self, certificate: &Path, key: &Path) -> Result<Live<Identity>, String> {
        let paths = vec![certificate.to_owned(), key.to_owned()];
        let read = look(&paths);
        let live = Live::new(identity(certificate, key)?);
        self.0.push(Source { paths, fills: Fills::Identity(live.clone()), read });
        Ok(live)
    }

    /// The authorities that are in this file now.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn authorities(&mut self, path: &Path) -> Result<Live<Authorities>, String> {
        let paths = vec![path.to_owned()];
        let read = look(&paths);
        let live = Live::new(authorities(path)?);
        self.0.push(Source { paths, fills: Fills::Authorities(live.clone()), read });
        Ok(live)
    }

    /// What Envoy is shown by these files now, and whose certificates it is asked for.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn envoy(
        &mut self,
        certificate: &Path,
        key: &Path,
        authorities: Option<&Path>,
    ) -> Result<Live<envoy::Identity>, String> {
        let paths: Vec<PathBuf> =
            [certificate, key].into_iter().chain(authorities).map(Path::to_owned).collect();
        let read = look(&paths);
        let live = Live::new(envoy(certificate, key, authorities)?);
        self.0.push(Source { paths, fills: Fills::Envoy(live.clone()), read });
        Ok(live)
    }

    /// Reads them again from now on.
    pub(crate) fn follow(mut self) -> JoinHandle<()> {
        // Without it the files are looked at all the same.
        let mut hang_ups = signal(SignalKind::hangup()).ok();
        tokio::spawn(async move {
            let mut before: Vec<_> = self.0.iter().map(|source| source.read.clone()).collect();
            loop {
                let told = tokio::select! {
                    () = sleep(LOOK) => false,
                    () = next(&mut hang_ups) => true,
                };
                for (source, before) in self.0.iter_mut().zip(&mut before) {
                    let seen = look(&source.paths);
                    let settled = seen == *before && seen != source.read;
                    before.clone_from(&seen);
                    if told || settled {
                        source.again(seen);
                    }
                }
            }
        })
    }
}

impl Source {
    /// Takes what is there now, where it can be used.
    fn again(&mut self, seen: Vec<Seen>) {
        let path = self.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
        let outcome = match (&self.fills, self.paths.as_slice()) {
            (Fills::Identity(live), [certificate, key]) => {
                let next = identity(certificate, key);
                // What changed meanwhile is read at the next look.
                if look(&self.paths) != seen {
                    return;
                }
                next.map(|next| live.replace(next))
            }
            (Fills::Authorities(live), [path]) => {
                let next = authorities(path);
                if look(&self.paths) != seen {
                    return;
                }
                next.map(|next| live.replace(next))
            }
            (Fills::Envoy(live), [certificate, key, authorities @ ..]) => {
                let next = envoy(certificate, key, authorities.first().map(PathBuf::as_path));
                if look(&self.paths) != seen {
                    return;
                }
                next.map(|next| live.replace(next))
            }
            _ => return,
        };
        self.read = seen;
        match outcome {
            Ok(()) => tracing::info!(path, "what is in the file now counts from here on"),
            Err(error) => tracing::error!(
                path,
                error,
                "what is in the file now can't be used; what counted before counts still"
            ),
        }
    }
}

async fn next(hang_ups: &mut Option<Signal>) {
    match hang_ups {
        Some(hang_ups) => _ = hang_ups.recv().await,
        None => std::future::pending().await,
    }
}

fn look(paths: &[PathBuf]) -> Vec<Seen> {
    let seen = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    paths.iter().map(seen).collect()
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, String> {
    Identity::from_pem(&read(certificate)?, &read(key)?)
        .map_err(|error| format!("`{}`: {error}", certificate.display()))
}

fn envoy(certificate: &Path, key: &Path, authorities: Option<&Path>) -> Result<envoy::Identity, String> {
    let authorities = authorities.map(read).transpose()?;
    envoy::Identity::from_pem(&read(certificate)?, &read(key)?, authorities.as_deref())
        .map_err(|why| unusable(certificate, why))
}

fn authorities(path: &Path) -> Result<Authorities, String> {
    let certificates = placet_gateway::roots_from_pem(&read(path)?).map_err(|why| unusable(path, why))?;
    Authorities::new(certificates).map_err(|why| unusable(path, why))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("`{}` can't be read: {error}", path.display()))
}

fn unusable(path: &Path, why: impl Display) -> String {
    format!("`{}` can't be used: {why}", path.display())
}
