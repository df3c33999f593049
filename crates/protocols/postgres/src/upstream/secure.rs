//! TLS to an upstream: SSLRequest, the server's one byte, the handshake.

use bytes::BytesMut;
use portcullis_policy::TlsMode;
use portcullis_proxy::{Transport, UpstreamTlsConfigs, tls::server_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Error, Target};
use crate::{codec::startup, handshake::ALPN};

pub(super) async fn secure(
    mut transport: Transport,
    target: Target<'_>,
    configs: &UpstreamTlsConfigs,
) -> Result<Transport, Error> {
    const STEP: &str = "TLS negotiation";
    let lost = |source| Error::Lost { step: STEP, source };
    // Before a byte is sent: what cannot be verified is not begun.
    let Some(config) = configs.for_connection(target.tls, &[ALPN])? else { return Ok(transport) };
    let name = server_name(target.host).map_err(Error::HostName)?;
    let mut request = BytesMut::new();
    startup::ssl_request(&mut request);
    transport.write_all(&request).await.map_err(lost)?;
    transport.flush().await.map_err(lost)?;
    match transport.read_u8().await.map_err(lost)? {
        b'S' => {
            if has_more(&mut transport).await {
                return Err(Error::Stuffed);
            }
            transport.connect_tls(&config, name).await.map_err(Error::Tls)
        }
        b'N' if target.tls.mode == TlsMode::Prefer => Ok(transport),
        b'N' => Err(Error::NoTls),
        // An ErrorResponse here comes from nobody in particular (CVE-2024-10977): its text is not passed on.
        tag => Err(Error::Unexpected { tag, step: STEP }),
    }
}

/// Whether the server has sent more than its one byte: it speaks next only when we have. What arrives later is read by TLS
/// and by nothing else.
async fn has_more(transport: &mut Transport) -> bool {
    tokio::select! {
        biased;
        byte = transport.peek_first_byte() => matches!(byte, Ok(Some(_))),
        () = std::future::ready(()) => false,
    }
}
