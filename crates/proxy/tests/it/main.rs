//! The data-path kernel over real sockets and real TLS.

mod listener;
mod sessions;
mod tls;
