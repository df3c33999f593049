//! Who answers what people are asked: whoever watches, or the demo itself.

use std::io::IsTerminal as _;

use tokio::sync::mpsc;

/// Whoever watches.
pub(super) struct Audience {
    /// Each time the Enter key is pressed; nothing where nobody can.
    keys: Option<mpsc::Receiver<()>>,
}

impl Audience {
    /// `alone`: nobody watches, so the demo answers. So it does where nobody can press a key.
    pub(super) fn new(alone: bool) -> Self {
        if alone || !std::io::stdin().is_terminal() {
            return Self { keys: None };
        }
        let (pressed, keys) = mpsc::channel(1);
        // A read from a terminal cannot be given up: its thread ends with the process.
        std::thread::spawn(move || {
            let mut line = String::new();
            while std::io::stdin().read_line(&mut line).is_ok_and(|length| length > 0) {
                let _ = pressed.try_send(());
                line.clear();
            }
        });
        Self { keys: Some(keys) }
    }

    /// Whether somebody can answer.
    pub(super) const fn watches(&self) -> bool {
        self.keys.is_some()
    }

    /// Forgets keys that were pressed before.
    pub(super) fn attention(&mut self) {
        if let Some(keys) = &mut self.keys {
            while keys.try_recv().is_ok() {}
        }
    }

    /// Waits until the demo is to answer: at once where nobody watches. Cancel safe.
    pub(super) async fn leaves_it_to_us(&mut self) {
        if let Some(keys) = &mut self.keys
            && keys.recv().await.is_none()
        {
            // The terminal is gone: so is whoever could answer.
            self.keys = None;
        }
    }
}
