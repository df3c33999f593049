//! Recordings from outside: written, failed, killed, read back, forgotten.

mod faults;
mod kill;
mod reading;
mod retention;
mod support;
mod views;
mod writing;
