//! The data-path kernel over real sockets and real TLS.
