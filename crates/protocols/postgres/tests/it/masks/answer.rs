//! A client that keeps every byte it is sent, and what can be asked of an answer.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use portcullis_postgres::codec::{Direction, ErrorFields, Frames, Next, frontend};
use portcullis_testkit::PgServer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::case::Round;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Client {
    stream: Box<dyn Stream>,
    input: BytesMut,
    pub closed: bool,
}

/// No answer comes that late from a server that is well, however busy the machine.
const HANGS: Duration = Duration::from_secs(60);

impl Client {
    /// The server itself, as the gateway's own user.
    pub async fn direct(server: &PgServer) -> Self {
        let path = server.socket_dir().join(format!(".s.PGSQL.{}", server.port()));
        let stream = Box::new(UnixStream::connect(path).await.unwrap());
        let mut client = Self { stream, input: BytesMut::new(), closed: false };
        client.start(&[("user", "app"), ("database", "shop")]).await;
        assert!(client.read(1).await.is_ready(), "the server does not let us in");
        client
    }

    /// Through the gateway.
    pub async fn through(address: SocketAddr, token: &str) -> (Self, Answer) {
        let stream = Box::new(TcpStream::connect(address).await.unwrap());
        let mut client = Self { stream, input: BytesMut::new(), closed: false };
        client.start(&[("user", "shop")]).await;
        let mut password = BytesMut::new();
        frontend::password_message(&mut password, token.as_bytes());
        client.stream.write_all(&password).await.unwrap();
        let greeting = client.read(1).await;
        (client, greeting)
    }

    async fn start(&mut self, parameters: &[(&str, &str)]) {
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for text in parameters.iter().flat_map(|(name, value)| [name, value]) {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        self.stream.write_all(&u32::try_from(body.len() + 4).unwrap().to_be_bytes()).await.unwrap();
        self.stream.write_all(&body).await.unwrap();
    }

    /// Everything that is said to these.
    pub async fn say(&mut self, rounds: &[Round]) -> Answer {
        let mut answer = Answer::default();
        for round in rounds {
            if self.closed || self.stream.write_all(&round.bytes).await.is_err() {
                self.closed = true;
                break;
            }
            answer.messages.extend(self.read(round.ready).await.messages);
        }
        answer.closed = self.closed;
        answer
    }

    pub async fn query(&mut self, text: &str) -> Answer {
        let mut bytes = BytesMut::new();
        frontend::query(&mut bytes, text.as_bytes());
        self.say(&[Round { bytes, ready: 1 }]).await
    }

    async fn read(&mut self, ready: usize) -> Answer {
        let (mut answer, mut left) = (Answer::default(), ready);
        while left > 0 {
            let mut frames = Frames::new(Direction::Backend, &self.input);
            if let Next::Frame(frame) = frames.next().unwrap() {
                let (tag, length) = (frame.tag, frame.bytes.len());
                answer.messages.push((tag, Bytes::copy_from_slice(frame.body)));
                let _ = self.input.split_to(length);
                left -= usize::from(tag == b'Z');
                continue;
            }
            let read = tokio::time::timeout(HANGS, self.stream.read_buf(&mut self.input)).await;
            if read.unwrap_or(Ok(0)).unwrap_or(0) == 0 {
                self.closed = true;
                break;
            }
        }
        answer.closed = self.closed;
        answer
    }
}

/// The messages that came, in order.
#[derive(Default)]
pub struct Answer {
    messages: Vec<(u8, Bytes)>,
    pub closed: bool,
}

/// An error as the client saw it.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub code: String,
    pub text: String,
}

/// One column of a RowDescription: its name and type.
type Column = (Vec<u8>, u32, i16);

impl Answer {
    pub fn is_ready(&self) -> bool {
        self.messages.last().is_some_and(|(tag, _)| *tag == b'Z')
    }

    /// Every byte, message after message.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (tag, body) in &self.messages {
            all.push(*tag);
            all.extend_from_slice(body);
            all.push(0);
        }
        all
    }

    /// Every error, in order.
    pub fn errors(&self) -> Vec<Told> {
        let error = |(tag, body): &(u8, Bytes)| {
            let fields = (*tag == b'E').then(|| ErrorFields::decode(body).unwrap())?;
            let text = fields
                .iter()
                .map(|(_, value)| String::from_utf8_lossy(value))
                .collect::<Vec<_>>()
                .join(" | ");
            Some(Told { code: fields.code().to_owned(), text })
        };
        self.messages.iter().filter_map(error).collect()
    }

    /// The order of messages, without those that may come at any time.
    pub fn shape(&self) -> String {
        let tags = self.messages.iter().map(|(tag, _)| char::from(*tag)).filter(|tag| !"SKNA".contains(*tag));
        let mut shape = String::new();
        for tag in tags {
            shape.push(tag);
        }
        shape
    }

    /// Everything but what differs from session to session.
    pub fn comparable(&self) -> Vec<(char, Vec<u8>)> {
        let comparable = |(tag, body): &(u8, Bytes)| match tag {
            b'K' | b'S' => None,
            b'A' => Some(('A', body[4..].to_vec())),
            // Where in its source the server raised it says nothing, and a refusal of ours has none.
            b'E' | b'N' => {
                let fields = ErrorFields::decode(body).unwrap();
                let text = fields.iter().filter(|(field, _)| !b"FLR".contains(field));
                Some((char::from(*tag), text.flat_map(|(field, value)| [&[field], value].concat()).collect()))
            }
            b'T' => Some(('T', without_tables(body))),
            tag => Some((char::from(*tag), body.to_vec())),
        };
        self.messages.iter().filter_map(comparable).collect()
    }

    /// The command tags.
    pub fn tags(&self) -> Vec<Vec<u8>> {
        self.messages.iter().filter(|(tag, _)| *tag == b'C').map(|(_, body)| body.to_vec()).collect()
    }

    /// The values of all rows and copied rows, in order.
    pub fn rows(&self) -> Vec<&Bytes> {
        self.messages.iter().filter(|(tag, _)| matches!(tag, b'D' | b'd')).map(|(_, body)| body).collect()
    }

    /// The columns of every RowDescription.
    pub fn columns(&self) -> Vec<Vec<Column>> {
        self.messages.iter().filter(|(tag, _)| *tag == b'T').map(|(_, body)| columns(body)).collect()
    }

    /// A value that no client could read as one of its column's type.
    pub fn malformed(&self) -> Option<String> {
        let mut described: Vec<Column> = Vec::new();
        let mut copied: Option<(u8, Vec<u8>)> = None;
        for (tag, body) in &self.messages {
            match tag {
                b'T' => described = columns(body),
                b'D' => {
                    let Some(values) = values(body) else { return Some("a row that is none".to_owned()) };
                    // Without a Describe, or with several portals at once, nobody knows which columns these are.
                    if values.len() == described.len() {
                        for ((name, kind, format), value) in described.iter().zip(values) {
                            if let Some(value) = value
                                && !fits(*kind, *format, value)
                            {
                                let name = String::from_utf8_lossy(name);
                                let value = value.escape_ascii();
                                return Some(format!(
                                    "`{name}` of type {kind} in format {format}: `{value}`"
                                ));
                            }
                        }
                    }
                }
                // Formats are of an Execute: what was described before says nothing of the next.
                b'Z' => described.clear(),
                b'H' => copied = Some((body[0], Vec::new())),
                b'd' => {
                    if let Some((_, data)) = &mut copied {
                        data.extend_from_slice(body);
                    }
                }
                b'c' => {
                    if let Some((1, data)) = copied.take()
                        && !is_binary_copy(&data)
                    {
                        return Some("a binary copy that cannot be read".to_owned());
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// A RowDescription that names no user's table by number: those made by a case have another each time.
fn without_tables(body: &[u8]) -> Vec<u8> {
    let mut out = body.to_vec();
    let mut at = 2;
    while at < out.len() {
        at += out[at..].iter().position(|byte| *byte == 0).unwrap() + 1;
        if u32::from_be_bytes(out[at..at + 4].try_into().unwrap()) > 16_384 {
            out[at..at + 4].fill(0xff);
        }
        at += 18;
    }
    out
}

fn columns(body: &[u8]) -> Vec<Column> {
    let mut columns = Vec::new();
    let mut rest = &body[2..];
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        let (name, after) = (rest[..end].to_vec(), &rest[end + 1..]);
        let kind = u32::from_be_bytes(after[6..10].try_into().unwrap());
        let format = i16::from_be_bytes(after[16..18].try_into().unwrap());
        columns.push((name, kind, format));
        rest = &after[18..];
    }
    columns
}

fn values(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (mut values, mut rest) = (Vec::new(), body.get(2..)?);
    for _ in 0..u16::from_be_bytes(body[..2].try_into().unwrap()) {
        let length = i32::from_be_bytes(rest.get(..4)?.try_into().unwrap());
        rest = &rest[4..];
        values.push(match usize::try_from(length) {
            Ok(length) => {
                let value = rest.get(..length)?;
                rest = &rest[length..];
                Some(value)
            }
            Err(_) => None,
        });
    }
    rest.is_empty().then_some(values)
}

fn is_binary_copy(data: &[u8]) -> bool {
    let Some(mut rest) = data.strip_prefix(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0") else { return false };
    while rest != [0xff, 0xff] {
        let Some(count) = rest.get(..2) else { return false };
        rest = &rest[2..];
        for _ in 0..u16::from_be_bytes(count.try_into().unwrap()) {
            let Some(length) = rest.get(..4) else { return false };
            let length = usize::try_from(i32::from_be_bytes(length.try_into().unwrap())).unwrap_or(0);
            let Some(after) = rest.get(4 + length..) else { return false };
            rest = after;
        }
    }
    true
}

/// Whether a client can read `value` as a value of the type (`pg_type.oid`).
fn fits(kind: u32, format: i16, value: &[u8]) -> bool {
    let text = std::str::from_utf8(value);
    if format == 0 {
        let Ok(text) = text else { return false };
        return match kind {
            16 => matches!(text, "t" | "f"),
            20 | 21 | 23 | 26 => text.parse::<i64>().is_ok(),
            700 | 701 | 1700 => text.parse::<f64>().is_ok(),
            114 | 3802 => serde_json::from_str::<serde_json::Value>(text).is_ok(),
            17 => text.starts_with("\\x") || !text.contains('*'),
            1082 => text.bytes().any(|byte| byte.is_ascii_digit()) && !text.contains('*'),
            1000..=1028 | 1231 | 3807 => text.starts_with('{') && text.ends_with('}'),
            2249 => text.starts_with('(') && text.ends_with(')'),
            _ => true,
        };
    }
    match kind {
        16 => value.len() == 1,
        21 => value.len() == 2,
        23 | 26 | 700 | 1082 => value.len() == 4,
        20 | 701 | 1083 | 1114 | 1184 => value.len() == 8,
        1700 => {
            value.len() >= 8
                && value.len() == 8 + 2 * usize::from(u16::from_be_bytes(value[..2].try_into().unwrap()))
        }
        2950 => value.len() == 16,
        3802 => value.first() == Some(&1) && serde_json::from_slice::<serde_json::Value>(&value[1..]).is_ok(),
        114 => serde_json::from_slice::<serde_json::Value>(value).is_ok(),
        19 | 25 | 142 | 1042 | 1043 => text.is_ok(),
        1000..=1028 | 1231 => value.len() >= 12,
        _ => true,
    }
}
