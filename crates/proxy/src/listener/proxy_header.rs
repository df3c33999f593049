//! The PROXY protocol, versions 1 and 2: who a load balancer says the client is.
//!
//! Decoding is strict and pure: [`decode`] takes what has arrived and says how much is missing, never more than the
//! format allows. What was read past the header is put back in front of the stream.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use ipnet::IpNet;
use tokio::io::AsyncReadExt as _;

use crate::transport::Transport;

/// The longest version 1 header, CRLF included (section 2.1).
const V1_MAX: usize = 107;

/// The version 2 signature (section 2.2).
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length.
const V2_FIXED: usize = 16;

/// The most we take after the fixed part: addresses and the TLVs of cloud load balancers need under 200 bytes; TLS
/// TLVs with a client's name a few hundred. The format would allow 65,535.
const V2_BODY_MAX: usize = 2048;

/// The networks whose PROXY header is believed.
#[derive(Clone, Debug)]
pub struct ProxyNetworks(Vec<IpNet>);

impl ProxyNetworks {
    /// These networks. None at all makes a listener that lets nobody in.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `peer` is in one of them.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The transport is for this client.
    Proxied {
        /// The client.
        source: SocketAddr,
    },
    /// The load balancer speaks for itself (a health check), or does not know for whom.
    Local,
}

/// How far decoding came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// At least this many bytes more are needed, and so many belong to the header.
    Need(usize),
    /// A header of `length` bytes.
    Done {
        /// What it says.
        header: Header,
        /// Its length in bytes; what follows belongs to the protocol.
        length: usize,
    },
}

/// Not a PROXY header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Neither signature.
    #[error("the stream does not start with a proxy header")]
    Missing,
    /// A signature, and then something else.
    #[error("malformed proxy header: {0}")]
    Malformed(&'static str),
    /// The stream ended or failed.
    #[error("the stream ended in the proxy header: {0}")]
    Read(#[from] io::Error),
}

/// Reads one header. Not cancel safe: a dropped future may have consumed part of it.
pub(super) async fn read(transport: &mut Transport) -> Result<Header, HeaderError> {
    let mut bytes = [0_u8; V2_FIXED + V2_BODY_MAX];
    let mut filled = 0;
    loop {
        match decode(bytes.get(..filled).unwrap_or_default())? {
            Decoded::Done { header, length } => {
                let rest = bytes.get(length..filled).unwrap_or_default();
                if let (false, Transport::Plain(wire)) = (rest.is_empty(), transport) {
                    wire.unread(rest)?;
                }
                return Ok(header);
            }
            Decoded::Need(_) => {
                let room = bytes.get_mut(filled..).filter(|room| !room.is_empty());
                let n = transport.read(room.ok_or(HeaderError::Malformed("too long"))?).await?;
                if n == 0 {
                    return Err(HeaderError::Read(io::ErrorKind::UnexpectedEof.into()));
                }
                filled += n;
            }
        }
    }
}

/// Decodes the header at the start of `bytes`.
///
/// # Errors
/// `bytes` cannot be the start of a header.
pub fn decode(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    if bytes.is_empty() {
        return Ok(Decoded::Need(V1_SHORTEST));
    }
    if common_prefix(bytes, &V2_SIGNATURE) {
        decode_v2(bytes)
    } else if common_prefix(bytes, b"PROXY ") {
        decode_v1(bytes)
    } else {
        Err(HeaderError::Missing)
    }
}

/// `PROXY UNKNOWN\r\n`: no header of either version is shorter, so that many bytes are always safe to read.
const V1_SHORTEST: usize = 15;

fn common_prefix(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, wanted)| byte == wanted)
}

/// Section 2.1: `PROXY TCP4 <source> <destination> <port> <port>\r\n`.
fn decode_v1(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    let searched = bytes.get(..bytes.len().min(V1_MAX)).unwrap_or_default();
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        if bytes.len() >= V1_MAX {
            return Err(HeaderError::Malformed("no end of line within 107 bytes"));
        }
        if bytes.len() < V1_SHORTEST {
            return Ok(Decoded::Need(V1_SHORTEST - bytes.len()));
        }
        // One more byte ends it at the earliest, two unless the CR is here already.
        return Ok(Decoded::Need(if bytes.last() == Some(&b'\r') { 1 } else { 2.min(V1_MAX - bytes.len()) }));
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed("not ascii"))?;
    let length = end + 2;
    let mut words = line.split(' ');
    let (_, family) = (words.next(), words.next());
    if family == Some("UNKNOWN") {
        // Whatever follows up to the end of the line is to be ignored.
        return Ok(Decoded::Done { header: Header::Local, length });
    }
    let fields = [words.next(), words.next(), words.next(), words.next(), words.next()];
    let [Some(source), Some(destination), Some(source_port), Some(destination_port), None] = fields else {
        return Err(HeaderError::Malformed("not six words"));
    };
    let source = match family {
        Some("TCP4") => IpAddr::V4(v1_address::<Ipv4Addr>(source, destination)?),
        Some("TCP6") => IpAddr::V6(v1_address::<Ipv6Addr>(source, destination)?),
        _ => return Err(HeaderError::Malformed("unknown family")),
    };
    v1_port(destination_port)?;
    let source = SocketAddr::new(source, v1_port(source_port)?);
    Ok(Decoded::Done { header: Header::Proxied { source }, length })
}

fn v1_address<A: std::str::FromStr>(source: &str, destination: &str) -> Result<A, HeaderError> {
    let parse =
        |text: &str| text.parse::<A>().map_err(|_| HeaderError::Malformed("not an address of its family"));
    parse(destination)?;
    parse(source)
}

/// Decimal, without sign or leading zeros.
fn v1_port(text: &str) -> Result<u16, HeaderError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(HeaderError::Malformed("not a port"))
}

/// Section 2.2.
fn decode_v2(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else {
        return Ok(Decoded::Need(V2_FIXED - bytes.len()));
    };
    let [.., version_command, family, high, low] = *fixed;
    let body_length = usize::from(u16::from_be_bytes([high, low]));
    if body_length > V2_BODY_MAX {
        return Err(HeaderError::Malformed("longer than we take"));
    }
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Malformed("unknown version or command")),
    };
    let Some(body) = rest.get(..body_length) else {
        return Ok(Decoded::Need(body_length - rest.len()));
    };
    let length = V2_FIXED + body_length;
    if is_local {
        // The family and all that follows are to be ignored.
        return Ok(Decoded::Done { header: Header::Local, length });
    }
    let (source, tlvs) = match family {
        0x11 => {
            let (addresses, tlvs) = split::<12>(body)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            (socket(Ipv4Addr::new(a, b, c, d), high, low), tlvs)
        }
        0x21 => {
            let (addresses, tlvs) = split::<36>(body)?;
            let (ip, rest) = addresses.split_first_chunk::<16>().ok_or(SHORT)?;
            let [high, low] = *rest.get(16..).and_then(<[u8]>::first_chunk::<2>).ok_or(SHORT)?;
            (socket(Ipv6Addr::from(*ip), high, low), tlvs)
        }
        // Unspecified: the load balancer does not know for whom it speaks.
        0x00 => return Ok(Decoded::Done { header: Header::Local, length }),
        // Datagrams and unix sockets cannot be the client of a TCP listener.
        _ => return Err(HeaderError::Malformed("neither tcp over ipv4 nor over ipv6")),
    };
    check_tlvs(tlvs)?;
    Ok(Decoded::Done { header: Header::Proxied { source }, length })
}

const SHORT: HeaderError = HeaderError::Malformed("too short for its addresses");

fn split<const N: usize>(body: &[u8]) -> Result<(&[u8; N], &[u8]), HeaderError> {
    body.split_first_chunk::<N>().ok_or(SHORT)
}

fn socket(ip: impl Into<IpAddr>, high: u8, low: u8) -> SocketAddr {
    SocketAddr::new(ip.into(), u16::from_be_bytes([high, low]))
}

/// Type, length (16 bits), value: we use none, but a body that is no list of them was made by no load balancer.
fn check_tlvs(mut rest: &[u8]) -> Result<(), HeaderError> {
    while !rest.is_empty() {
        let ([_, high, low], after) =
            rest.split_first_chunk::<3>().ok_or(HeaderError::Malformed("a cut-off extension"))?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length..).ok_or(HeaderError::Malformed("a cut-off extension"))?;
    }
    Ok(())
}

/// Fuzz entry point: decodes, and checks that an answer does not depend on how the bytes arrived.
#[doc(hidden)]
pub fn fuzz_proxy_header(bytes: &[u8]) {
    let whole = decode(bytes);
    if let Ok(Decoded::Done { header, length }) = whole {
        assert!(length <= bytes.len() && length <= V2_FIXED + V2_BODY_MAX, "a header is within its bytes");
        for cut in 0..length {
            let part = bytes.get(..cut).unwrap_or_default();
            assert!(
                matches!(decode(part), Ok(Decoded::Need(more)) if more > 0 && cut + more <= length.max(V1_SHORTEST)),
                "a part of a header asks for more of it, {header:?} at {cut}"
            );
        }
    }
}

#[cfg(test)]
mod tests;
