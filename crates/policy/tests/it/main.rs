//! Policy, from outside: documents as files, decisions as scenarios, attacks, properties, schemas.

mod attacks;
mod diagnostics;
mod golden;
mod properties;
mod scenarios;
mod schemas;
