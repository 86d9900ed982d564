//! SIGTERM and SIGINT.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// The signals that end a command.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on the signals are waited for instead of ending the process. To be called within a runtime.
    pub fn new() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::Run(format!("cannot catch signals: {error}")));
        Ok(Stop { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Ready when one came.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
