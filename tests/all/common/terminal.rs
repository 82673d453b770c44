//! Runs the program on a pseudo-terminal, with `script` of util-linux.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
    /// Where the text that was last waited for ends.
    seen: usize,
}

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Terminal {
    /// Runs the program with these arguments and this environment, and nothing else in it.
    pub fn run(folder: &Path, columns: u16, args: &str, environment: &[(&str, &str)]) -> Self {
        let program = env!("CARGO_BIN_EXE_zoom-harvester");
        let line = format!("stty cols {columns} rows 40; exec {program} {args}");
        let mut child = Command::new("script")
            .args([
                "--quiet",
                "--return",
                "--echo",
                "never",
                "--command",
                &line,
                "/dev/null",
            ])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("script is missing: it belongs to util-linux");
        let shown: Arc<Mutex<String>> = Arc::default();
        let (mut out, told) = (child.stdout.take().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut held = Vec::new();
            while let Ok(read) = out.read(&mut buffer) {
                if read == 0 {
                    break;
                }
                held.extend_from_slice(&buffer[..read]);
                *told.lock().unwrap() = String::from_utf8_lossy(&held).into_owned();
            }
        });
        Self {
            keys: child.stdin.take().unwrap(),
            child,
            shown,
            seen: 0,
        }
    }

    /// Waits until this is shown, after what was waited for before.
    pub fn waits_for(&mut self, text: &str) {
        let begun = Instant::now();
        loop {
            let shown = self.shown();
            if let Some(at) = shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{text:?} is not shown: {shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a question and answers it.
    pub fn answers(&mut self, question: &str, answer: &str) {
        self.waits_for(question);
        self.waits_for(": ");
        self.types(&format!("{answer}\n"));
    }

    /// Types after a short pause: input before the echo is switched off is thrown away.
    pub fn types(&mut self, keys: &str) {
        std::thread::sleep(Duration::from_millis(150));
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits for the end. Returns the exit code and all that was shown.
    pub fn ends(mut self) -> (i32, String) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                std::thread::sleep(Duration::from_millis(100));
                return (status.code().unwrap(), self.shown());
            }
            if begun.elapsed() > PATIENCE {
                let _ = self.child.kill();
                panic!("it does not end: {}", self.shown());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
