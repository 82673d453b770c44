//! SIGINT and SIGTERM: the first one asks the run to stop, the second ends it where it is.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::sync::watch;

use super::Exit;

/// Watches for signals from within a runtime.
pub struct Interrupt {
    which: Arc<AtomicU8>,
    stop: watch::Receiver<bool>,
}

impl Interrupt {
    /// Begins to watch.
    ///
    /// # Errors
    /// The operating system refuses to tell of signals.
    pub fn watch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (sender, stop) = watch::channel(false);
        let which = Arc::new(AtomicU8::new(0));
        let noted = Arc::clone(&which);
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::spawn(async move {
            loop {
                let exit = tokio::select! {
                    _ = int.recv() => Exit::Interrupted,
                    _ = term.recv() => Exit::Terminated,
                };
                if noted.swap(exit as u8, Ordering::SeqCst) != 0 {
                    end_now(exit);
                }
                let _ = sender.send(true);
            }
        });
        Ok(Self { which, stop })
    }

    /// Turns true at the first signal.
    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    /// How the program ends for the signal that came.
    pub fn exit(&self) -> Exit {
        if self.which.load(Ordering::SeqCst) == Exit::Terminated as u8 {
            Exit::Terminated
        } else {
            Exit::Interrupted
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the second signal ends the process where it is; the catalog is safe at every instruction"
)]
fn end_now(exit: Exit) -> ! {
    std::process::exit(exit as i32)
}
