//! What the demo prints: steps, commands, their output, and whether what came was what should have come.

use std::io::IsTerminal as _;

/// The most lines of one command's output that are shown.
const MOST_LINES: usize = 14;
/// The most characters of one line.
const MOST_COLUMNS: usize = 240;

/// Prints, and counts what did not hold.
pub(super) struct Narrator {
    color: bool,
    failures: usize,
    step: usize,
}

impl Narrator {
    pub(super) fn new(no_color: bool) -> Self {
        let color = !no_color && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { color, failures: 0, step: 0 }
    }

    pub(super) fn failures(&self) -> usize {
        self.failures
    }

    /// A new step, with what it is about.
    pub(super) fn step(&mut self, title: &str, about: &str) {
        self.step += 1;
        println!("\n{} {}", self.paint("1;36", &format!("{}.", self.step)), self.paint("1", title));
        for line in about.lines() {
            println!("   {line}");
        }
    }

    pub(super) fn note(&self, text: &str) {
        println!("   {}", self.paint("2", text));
    }

    /// What whoever watches is asked to do.
    pub(super) fn turn(&self, text: &str) {
        println!("   {}", self.paint("1;33", text));
    }

    /// A command, as a person would type it.
    pub(super) fn command(&self, line: &str) {
        self.command_of("$", line);
    }

    /// A command in the terminal that has this prompt.
    pub(super) fn command_of(&self, prompt: &str, line: &str) {
        let mut lines = line.lines();
        println!("   {} {}", self.paint("32", prompt), self.paint("1", lines.next().unwrap_or_default()));
        for line in lines {
            println!("     {}", self.paint("1", line));
        }
    }

    /// What a command printed, shortened.
    pub(super) fn output(&self, text: &str) {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        for line in lines.iter().take(MOST_LINES) {
            self.output_line(line);
        }
        if lines.len() > MOST_LINES {
            println!("     {}", self.paint("2", &format!("… {} more lines", lines.len() - MOST_LINES)));
        }
    }

    /// What a command printed, all of it.
    pub(super) fn output_whole(&self, text: &str) {
        text.trim_end().lines().for_each(|line| println!("     {line}"));
    }

    pub(super) fn output_line(&self, line: &str) {
        let shown: String = line.chars().take(MOST_COLUMNS).collect();
        let cut = if line.chars().count() > MOST_COLUMNS { "…" } else { "" };
        println!("     {shown}{cut}");
    }

    /// `ok`, or what was expected. `got` is shown only where it is not what was expected.
    pub(super) fn check(&mut self, held: bool, what: &str, got: &str) {
        if held {
            println!("   {} {what}", self.paint("1;32", "ok"));
            return;
        }
        self.failures += 1;
        println!("   {} {what}", self.paint("1;31", "FAILED: expected:"));
        let last: Vec<&str> = got.trim_end().lines().rev().take(MOST_LINES).collect();
        for line in last.iter().rev() {
            println!("     got: {line}");
        }
    }

    /// The last word.
    pub(super) fn verdict(&self, text: &str) {
        let color = if self.failures == 0 { "1;32" } else { "1;31" };
        println!("\n{}", self.paint(color, text));
    }

    pub(super) fn heading(&self, text: &str) {
        println!("\n{}", self.paint("1", text));
    }

    pub(super) fn plain(&self, text: &str) {
        println!("{text}");
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
