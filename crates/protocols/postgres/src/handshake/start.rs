//! From the first byte to the startup packet.

use std::sync::Arc;

use portcullis_proxy::Transport;
use rustls::ServerConfig;
use tokio::io::AsyncReadExt;

use super::{
    ALPN, Cancelling, Failed, Negotiated, Negotiation, Plaintext, Reported, fail, lost, read_or_end, send,
};
use crate::{
    codec::{self, FirstPacket},
    error::Error,
};

/// The first byte of a TLS record that holds a handshake (RFC 8446 section 5.1). No startup packet is long enough to
/// begin with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// Length and code of a startup packet: the shortest one there is.
const SHORTEST: usize = 8;

pub(super) async fn negotiate(
    mut transport: Transport,
    tls: &Arc<ServerConfig>,
    plaintext: Plaintext,
) -> Result<Negotiation, Failed> {
    match transport.peek_first_byte().await {
        Ok(None) => return Ok(Negotiation::Gone(Reported::UNDELIVERABLE)),
        Ok(Some(TLS_HANDSHAKE)) => {
            transport = accept_tls(transport, tls).await?;
            // Without it a browser could be talked into speaking to us (the ALPACA attack).
            if transport.alpn() != Some(ALPN) {
                return fail(transport, Error::NoAlpn).await;
            }
        }
        Ok(Some(_)) => {}
        Err(error) => return Err(lost(error)),
    }
    let mut gss_refused = false;
    loop {
        let packet = match first_packet(&mut transport).await {
            Ok(None) => return Ok(Negotiation::Gone(Reported::UNDELIVERABLE)),
            Ok(Some(packet)) => packet,
            Err(error @ Error::Downstream(_)) => {
                return Err(Failed { error, reported: Reported::UNDELIVERABLE });
            }
            Err(error) => return fail(transport, error).await,
        };
        match packet {
            FirstPacket::SslRequest if transport.is_encrypted() => {
                return fail(transport, Error::Repeated { packet: "an SSLRequest" }).await;
            }
            FirstPacket::SslRequest => {
                if has_more(&mut transport).await {
                    return fail(transport, Error::Stuffed).await;
                }
                send(&mut transport, b"S").await.map_err(lost)?;
                transport = accept_tls(transport, tls).await?;
                // A client that names protocols must name this one. rustls refuses others itself.
                if transport.alpn().is_some_and(|alpn| alpn != ALPN) {
                    return fail(transport, Error::NoAlpn).await;
                }
            }
            FirstPacket::GssEncRequest if gss_refused || transport.is_encrypted() => {
                return fail(transport, Error::Repeated { packet: "a GSSENCRequest" }).await;
            }
            FirstPacket::GssEncRequest => {
                gss_refused = true;
                if has_more(&mut transport).await {
                    return fail(transport, Error::Stuffed).await;
                }
                send(&mut transport, b"N").await.map_err(lost)?;
            }
            // Clients before libpq 17 send it in plaintext whatever the session has.
            FirstPacket::Cancel(request) => {
                return Ok(Negotiation::Cancel(request, Cancelling { transport }));
            }
            FirstPacket::Startup(_) if !transport.is_encrypted() && plaintext == Plaintext::Refused => {
                return fail(transport, Error::PlaintextRefused).await;
            }
            FirstPacket::Startup(startup) => {
                return Ok(Negotiation::Session(Negotiated { transport, startup }));
            }
        }
    }
}

async fn accept_tls(transport: Transport, tls: &Arc<ServerConfig>) -> Result<Transport, Failed> {
    // TLS has its own way to tell the peer: the alert is out where one could be sent.
    transport
        .accept_tls(tls)
        .await
        .map_err(|error| Failed { error: Error::DownstreamTls(error), reported: Reported::UNDELIVERABLE })
}

/// Whether the peer has sent more than it may before our answer. Looks at what is there and does not wait; what arrives
/// later is read by TLS and by nothing else.
async fn has_more(transport: &mut Transport) -> bool {
    tokio::select! {
        biased;
        byte = transport.peek_first_byte() => matches!(byte, Ok(Some(_))),
        () = std::future::ready(()) => false,
    }
}

/// Reads one packet and not a byte more; `None` when the peer closed before its first byte.
async fn first_packet(transport: &mut Transport) -> Result<Option<FirstPacket>, Error> {
    let mut head = [0; SHORTEST];
    if !read_or_end(transport, &mut head).await.map_err(Error::Downstream)? {
        return Ok(None);
    }
    let length = FirstPacket::length(&head)?.ok_or(codec::Error::StartupLength)?;
    let mut packet = vec![0; length];
    let (start, rest) = packet.split_first_chunk_mut().ok_or(codec::Error::StartupLength)?;
    *start = head;
    transport.read_exact(rest).await.map_err(Error::Downstream)?;
    Ok(Some(FirstPacket::decode(&packet)?))
}
