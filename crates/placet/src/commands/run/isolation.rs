//! A command in a network namespace of its own, in which there is nothing but the proxy of its run: what doesn't care about
//! proxies reaches nobody.
//!
//! `placet run` starts itself once more behind `unshare` (user and network namespace, no privilege needed where the system
//! lets users make these); that one ([`Inside`]) answers at the namespace's loopback, passes what comes on to a Unix socket
//! of the first, and runs the command without the capabilities that it had for that.
//!
//! Invariant: the command is started only when the namespace's network is up and the proxy listens; the socket is the one way
//! out of it.

use crate::exit::{Exit, Failure};
use clap::Args;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
};

/// Where the proxy is within the namespace.
pub(super) const ADDRESS: &str = "127.0.0.1:3128";

/// The part of `placet run --isolated` that is within the namespace.
#[derive(Debug, Args)]
pub(crate) struct Inside {
    /// The socket of the run's proxy
    #[arg(long, value_name = "FILE")]
    socket: PathBuf,
    /// The command, with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The command that runs `command` in a namespace, where the run's proxy is at `socket`.
///
/// # Errors
/// A sentence, where this program can't be found again.
pub(super) fn isolated(socket: &Path, command: &[OsString]) -> Result<Vec<OsString>, Failure> {
    let own = std::env::current_exe()
        .map_err(|error| Failure::unreadable(format!("this program can't be started once more: {error}")))?;
    let fixed = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net", "--"];
    let mut whole: Vec<OsString> = fixed.iter().map(Into::into).collect();
    whole.extend([own.into(), "run-inside".into(), "--socket".into(), socket.into(), "--".into()]);
    whole.extend_from_slice(command);
    Ok(whole)
}

impl Inside {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let wrong = |why: String| Failure::unreadable(format!("the command can't be isolated: {why}"));
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        match up {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(wrong(format!("`ip link set lo up` ended with {status}"))),
            Err(error) => return Err(wrong(format!("`ip` can't be run: {error}"))),
        }
        let listener = TcpListener::bind(ADDRESS).await.map_err(|error| wrong(error.to_string()))?;
        let socket = self.socket;
        tokio::spawn(async move {
            while let Ok((mut agent, _)) = listener.accept().await {
                let socket = socket.clone();
                tokio::spawn(async move {
                    _ = agent.set_nodelay(true);
                    let Ok(mut proxy) = UnixStream::connect(socket).await else { return };
                    // Broken connections are the command's to notice.
                    _ = copy_bidirectional(&mut agent, &mut proxy).await;
                });
            }
        });
        // What the namespace was made with is not for the command.
        let dropping = [
            "setpriv",
            "--no-new-privs",
            "--ambient-caps=-all",
            "--inh-caps=-all",
            "--bounding-set=-all",
            "--",
        ];
        let mut whole: Vec<OsString> = dropping.iter().map(Into::into).collect();
        whole.extend(self.command);
        Ok(Exit::Code(super::code(super::run(&whole, |_| {}).await?)))
    }
}
