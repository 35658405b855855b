//! What a person or a program sees: progress on standard error, results on standard output.

use phiquant::Error;
use serde_json::{Value, json};
use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub struct Output {
    pub json: bool,
    progress: bool,
    /// A line that the next one overwrites.
    open: Cell<bool>,
    last: Cell<Option<Instant>>,
}

impl Output {
    pub fn new(json: bool, quiet: bool) -> Self {
        let progress = !json && !quiet && std::io::stderr().is_terminal();
        Self { json, progress, open: Cell::new(false), last: Cell::new(None) }
    }

    /// A line that the next one replaces, ten times a second at most; only on a terminal.
    pub fn progress(&self, line: impl FnOnce() -> String) {
        let now = Instant::now();
        if !self.progress || self.last.get().is_some_and(|last| now - last < Duration::from_millis(100)) {
            return;
        }
        self.last.set(Some(now));
        self.open.set(true);
        eprint!("\r\x1b[2K{}", line());
        let _ = std::io::stderr().flush();
    }

    /// Ends the progress line.
    pub fn end_progress(&self) {
        if self.open.take() {
            eprint!("\r\x1b[2K");
        }
    }

    /// A line for a person, on standard error.
    pub fn say(&self, line: &str) {
        self.end_progress();
        if !self.json {
            eprintln!("{line}");
        }
    }

    /// The result: JSON where it was asked for, else the text.
    pub fn result(&self, value: &Value, text: &str) {
        self.end_progress();
        if self.json {
            println!("{value}");
        } else if !text.is_empty() {
            println!("{text}");
        }
    }

    pub fn error(&self, error: &Error) {
        self.end_progress();
        if self.json {
            let Error { kind, message, file, tensor } = error;
            println!(
                "{}",
                json!({ "error": { "code": kind.code(), "message": message, "file": file, "tensor": tensor } })
            );
        } else {
            eprintln!("error: {error} [{}]", error.kind.code());
        }
    }
}

/// `1.5 GB`, in powers of ten.
pub fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} bytes"),
        10_000..1_000_000 => format!("{:.0} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}
