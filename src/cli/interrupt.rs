//! SIGINT and SIGTERM: the first signal asks the run to stop, the second ends the process at once.
//!
//! A separate thread waits for signals, so that the second one is handled even while the run's only thread is busy.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::sync::watch;

use super::Exit;

/// Remembers the first signal.
pub struct Interrupt {
    which: Arc<AtomicU8>,
    stop: watch::Receiver<bool>,
}

impl Interrupt {
    /// Catches signals from now on until the process ends.
    ///
    /// # Errors
    /// The operating system refuses to report signals.
    pub fn watch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let (sender, stop) = watch::channel(false);
        let which = Arc::new(AtomicU8::new(0));
        let noted = Arc::clone(&which);
        // Signals are caught from here on, not only once the thread runs.
        let (mut int, mut term) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let listen = async move {
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
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(listen))?;
        Ok(Self { which, stop })
    }

    /// Turns true at the first signal.
    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    /// The exit for the signal that was received.
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
