//! The data path's metrics: every name, label and unit in one place.
//!
//! Counters end in `_total`. A `reason` label comes from a fixed set, never from a peer.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::sessions::Traffic;

/// Tells the recorder what each metric means. Called once, after the recorder is installed.
pub fn describe() {
    describe_counter!("portcullis_connections_accepted_total", "Transports accepted, by listener.");
    describe_counter!(
        "portcullis_connections_refused_total",
        "Transports refused before their protocol saw them, by listener and reason."
    );
    describe_counter!("portcullis_accept_errors_total", "Failures of accept(2), by listener.");
    describe_gauge!("portcullis_connections_open", "Transports open now, by listener.");
    describe_counter!(
        "portcullis_handshake_failures_total",
        "Logins that did not finish, by listener and reason."
    );
    describe_counter!("portcullis_panics_total", "Sessions ended by a defect of the gateway, by listener.");
    describe_gauge!("portcullis_sessions_live", "Sessions live now.");
    describe_counter!(
        "portcullis_bytes_total",
        Unit::Bytes,
        "Bytes relayed, from clients (`in`) and to clients (`out`)."
    );
    describe_counter!("portcullis_statements_total", "Operations decided.");
    describe_gauge!(
        "portcullis_upstream_up",
        "Whether the last session that was opened to the connection's upstream could be, by connection; NaN where that is not known any more."
    );
}

/// A transport was accepted.
pub(crate) fn accepted(listener: &'static str) {
    counter!("portcullis_connections_accepted_total", "listener" => listener).increment(1);
}

/// A transport was refused before its protocol saw it.
pub(crate) fn refused(listener: &'static str, reason: &'static str) {
    counter!("portcullis_connections_refused_total", "listener" => listener, "reason" => reason).increment(1);
}

/// `accept(2)` failed.
pub(crate) fn accept_failed(listener: &'static str) {
    counter!("portcullis_accept_errors_total", "listener" => listener).increment(1);
}

/// Transports open on a listener.
pub(crate) fn open(listener: &'static str, count: usize) {
    gauge!("portcullis_connections_open", "listener" => listener).set(to_f64(count));
}

/// A handshake did not finish: `timeout`, `tls`, `protocol`, ….
pub fn handshake_failed(listener: &'static str, reason: &'static str) {
    counter!("portcullis_handshake_failures_total", "listener" => listener, "reason" => reason).increment(1);
}

/// A session's task panicked.
pub(crate) fn panicked(listener: &'static str) {
    counter!("portcullis_panics_total", "listener" => listener).increment(1);
}

/// Sessions live now.
pub(crate) fn live_sessions(count: usize) {
    gauge!("portcullis_sessions_live").set(to_f64(count));
}

/// Bytes and statements since the start.
pub(crate) fn traffic(totals: Traffic) {
    counter!("portcullis_bytes_total", "direction" => "in").absolute(totals.bytes_in);
    counter!("portcullis_bytes_total", "direction" => "out").absolute(totals.bytes_out);
    counter!("portcullis_statements_total").absolute(totals.statements);
}

/// How the last session to a connection's upstream could be opened; none: that is not known any more.
pub(crate) fn upstream(connection: &str, up: Option<bool>) {
    let value = up.map_or(f64::NAN, |up| if up { 1.0 } else { 0.0 });
    gauge!("portcullis_upstream_up", "connection" => connection.to_owned()).set(value);
}

fn to_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
