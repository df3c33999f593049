//! [`Failure`]: why a command did not do what was asked, and the exit code that says so.

use std::{fmt, process::ExitCode};

/// What exit codes mean; the help of the program says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The question was answered, with no: denied, a test failed, the documents have errors.
    No = 1,
    /// The command line cannot be understood. clap exits with this one too.
    Usage = 2,
    /// The gateway or the issuer cannot be reached.
    Unreachable = 3,
    /// It was reached, and refused.
    Refused = 4,
    /// This machine is not as needed: a port in use, a folder locked or damaged, a file that cannot be read.
    Cannot = 5,
}

/// A failure with what to do about it.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    next: Option<String>,
}

impl Failure {
    /// With this message: lower case, no full stop.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), next: None }
    }

    /// Everything there is to say was printed already.
    pub const fn told(exit: Exit) -> Self {
        Self { exit, message: String::new(), next: None }
    }

    /// [`Exit::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// [`Exit::Cannot`].
    pub fn cannot(message: impl Into<String>) -> Self {
        Self::new(Exit::Cannot, message)
    }

    /// What to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Says it on standard error, once.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("portcullis: {self}");
        }
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.next {
            Some(next) => write!(f, "\n  next: {next}"),
            None => Ok(()),
        }
    }
}
