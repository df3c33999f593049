//! Changes of server settings (GUCs) a statement makes, and which of them nobody may make outside pass-through.

/// A setting's new value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SettingValue {
    /// Written in the statement. Lists are joined with `, `, identifiers quoted where needed, as `SET` itself does.
    Known(Box<str>),
    /// Computed, or the default.
    Unknown,
}

/// How long a change lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettingScope {
    /// `SET`, `SET SESSION`: to the end of the session, unless the transaction is rolled back.
    Session,
    /// `SET LOCAL`: to the end of the transaction.
    Local,
}

/// One change of one setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SettingChange {
    /// The setting in lower case; `all` for `RESET ALL` and what `DISCARD ALL` resets.
    pub name: Box<str>,
    /// The new value.
    pub value: SettingValue,
    /// How long it lasts.
    pub scope: SettingScope,
    /// `RESET`, `SET … TO DEFAULT`: back to what the session started with.
    pub reset: bool,
}

impl SettingChange {
    /// Whether the change is about `name`; `RESET ALL` is about every setting.
    pub fn concerns(&self, name: &str) -> bool {
        &*self.name == name || (self.reset && &*self.name == "all")
    }
}
