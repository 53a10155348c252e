//! `rollcall` without a command: runs a node until a signal stops it.
//!
//! This module reads the configuration and handles signals. [`crate::node`] runs the node.

use std::io;
use std::thread;

use clap::Args;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::exit::{CommandError, SOFTWARE, SYSTEM};
use super::signals::ShutdownSignals;
use crate::config::{Config, Flags};
use crate::node;

/// Arguments of a node.
#[derive(Args, Debug)]
pub(super) struct NodeArgs {
    #[command(flatten)]
    flags: Flags,

    /// Stop when standard input is closed, which happens when the parent process dies
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(super) async fn run(args: NodeArgs) -> Result<(), CommandError> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let config = Config::read(&variable, &args.flags)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let signal_error = |error| CommandError::new(SYSTEM, format!("cannot listen for signals: {error}"));
    let mut signals = ShutdownSignals::listen().map_err(signal_error)?;
    let shutdown = CancellationToken::new();
    if args.exit_with_stdin {
        cancel_with_stdin(shutdown.clone())?;
    }
    // The node has its own task, so that a busy node cannot delay the handling of a second signal.
    let mut nodes = JoinSet::new();
    nodes.spawn(node::run(config, shutdown.clone()));
    let mut is_shutting_down = false;
    loop {
        tokio::select! {
            Some(ended) = nodes.join_next() => {
                let ended = ended.map_err(|error| CommandError::new(SOFTWARE, format!("the node failed: {error}")))?;
                return Ok(ended?);
            }
            signal = signals.next() => {
                if is_shutting_down {
                    signal.exit_now();
                }
                info!("shutting down; a second signal stops the process at once");
                is_shutting_down = true;
                shutdown.cancel();
            }
        }
    }
}

/// Cancels `shutdown` at the end of standard input.
///
/// It uses a thread and not a task: a read of standard input cannot be cancelled, and the runtime
/// would wait for it during the shutdown. A thread ends with the process.
fn cancel_with_stdin(shutdown: CancellationToken) -> Result<(), CommandError> {
    let watch = move || {
        // An error also means that the parent process has ended.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        shutdown.cancel();
    };
    let thread_error = |error| CommandError::new(SYSTEM, format!("cannot start a thread: {error}"));
    thread::Builder::new().name("stdin".to_owned()).spawn(watch).map(drop).map_err(thread_error)
}
