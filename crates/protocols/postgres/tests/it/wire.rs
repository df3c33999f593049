//! A client that says exactly what a test wants said, in one write, and tells what came back.

use std::net::SocketAddr;

use bytes::BytesMut;
use portcullis_postgres::codec::{
    Direction, ErrorFields, Frames, Next,
    bind::Bind,
    frontend::{self, Execute, Parse},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub struct Raw {
    pub stream: TcpStream,
    input: BytesMut,
    pub out: BytesMut,
    /// Every byte of every message that came.
    pub seen: Vec<u8>,
}

/// What the server said: tags as letters, errors as `E:SQLSTATE`, `Z` with its status, `D` with the first column.
pub type Said = Vec<String>;

impl Raw {
    pub async fn connect(address: SocketAddr, user: &str, token: &str, parameters: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut body = Vec::new();
        body.extend_from_slice(&196_608_u32.to_be_bytes());
        for (name, value) in [("user", user)].iter().chain(parameters) {
            for text in [name, value] {
                body.extend_from_slice(text.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        stream.write_all(&u32::try_from(body.len() + 4).unwrap().to_be_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let mut raw = Self { stream, input: BytesMut::new(), out: BytesMut::new(), seen: Vec::new() };
        raw.read_one().await;
        frontend::password_message(&mut raw.out, token.as_bytes());
        raw
    }

    pub fn query(&mut self, text: &str) -> &mut Self {
        frontend::query(&mut self.out, text.as_bytes());
        self
    }

    pub fn parse(&mut self, name: &str, text: &str) -> &mut Self {
        Parse::encode(&mut self.out, name.as_bytes(), text.as_bytes(), &[]);
        self
    }

    pub fn bind(&mut self, portal: &str, name: &str, values: &[&str]) -> &mut Self {
        let values: Vec<Option<&[u8]>> = values.iter().map(|v| Some(v.as_bytes())).collect();
        Bind::encode(&mut self.out, portal.as_bytes(), name.as_bytes(), &[], &values, &[]);
        self
    }

    pub fn execute(&mut self, portal: &str) -> &mut Self {
        Execute { portal: portal.as_bytes(), max_rows: 0 }.encode(&mut self.out);
        self
    }

    pub fn execute_some(&mut self, portal: &str, max_rows: i32) -> &mut Self {
        Execute { portal: portal.as_bytes(), max_rows }.encode(&mut self.out);
        self
    }

    /// A FunctionCall with arguments as text, its result as text.
    pub fn function(&mut self, oid: u32, arguments: &[&str]) -> &mut Self {
        let mut body = oid.to_be_bytes().to_vec();
        body.extend_from_slice(&0_u16.to_be_bytes());
        body.extend_from_slice(&u16::try_from(arguments.len()).unwrap().to_be_bytes());
        for argument in arguments {
            body.extend_from_slice(&u32::try_from(argument.len()).unwrap().to_be_bytes());
            body.extend_from_slice(argument.as_bytes());
        }
        body.extend_from_slice(&0_u16.to_be_bytes());
        self.message(b'F', &body)
    }

    /// Any message.
    pub fn message(&mut self, tag: u8, body: &[u8]) -> &mut Self {
        self.out.extend_from_slice(&[tag]);
        self.out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        self.out.extend_from_slice(body);
        self
    }

    pub fn sync(&mut self) -> &mut Self {
        frontend::empty(&mut self.out, frontend::tag::SYNC);
        self
    }

    /// Parse, Bind, Execute of one statement, without Sync.
    pub fn run(&mut self, text: &str) -> &mut Self {
        self.parse("", text).bind("", "", &[]).execute("")
    }

    /// Sends what was gathered in one write, and reads up to the `n`th ReadyForQuery or the end.
    pub async fn send(&mut self, n: usize) -> Said {
        let out = self.out.split();
        self.stream.write_all(&out).await.unwrap();
        self.read(n).await
    }

    /// The messages of the notices seen so far, each with its SQLSTATE.
    pub fn notices(&self) -> Vec<String> {
        self.frames(b'N')
            .iter()
            .map(|body| {
                let fields = ErrorFields::decode(body).unwrap();
                format!("{} {}", fields.code(), fields.message())
            })
            .collect()
    }

    /// The last error seen, its fields in lines.
    pub fn error(&self) -> String {
        let errors = self.frames(b'E');
        let fields = ErrorFields::decode(errors.last().unwrap()).unwrap();
        let lines: Vec<String> =
            fields.iter().map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect();
        lines.join("\n")
    }

    /// Waits for a notice that has this in it.
    pub async fn notice(&mut self, text: &str) {
        while !self.notices().iter().any(|notice| notice.contains(text)) {
            assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0, "closed");
            self.look();
        }
    }

    /// Cancels what runs, as another transport would.
    pub async fn cancel(&self, address: SocketAddr) {
        let key = self.frames(b'K').last().unwrap().clone();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut packet = Vec::new();
        packet.extend_from_slice(&u32::try_from(key.len() + 8).unwrap().to_be_bytes());
        packet.extend_from_slice(&80_877_102_u32.to_be_bytes());
        packet.extend_from_slice(&key);
        stream.write_all(&packet).await.unwrap();
        // Closed once it was passed on.
        let _ = stream.read(&mut [0]).await;
    }

    fn frames(&self, tag: u8) -> Vec<Vec<u8>> {
        let mut frames = Frames::new(Direction::Backend, &self.seen);
        let mut found = Vec::new();
        while let Next::Frame(frame) = frames.next().unwrap() {
            if frame.tag == tag {
                found.push(frame.body.to_vec());
            }
        }
        found
    }

    /// Takes whole messages that are there, up to one that `read` waits for.
    fn look(&mut self) {
        loop {
            let mut frames = Frames::new(Direction::Backend, &self.input);
            let Next::Frame(frame) = frames.next().unwrap() else { return };
            if describe(frame.tag, frame.body).is_some() {
                return;
            }
            let length = frame.bytes.len();
            self.seen.extend_from_slice(frame.bytes);
            let _ = self.input.split_to(length);
        }
    }

    pub async fn read(&mut self, n: usize) -> Said {
        let (mut said, mut ready) = (Vec::new(), 0);
        while ready < n {
            let Some(one) = self.read_one().await else {
                said.push("closed".to_owned());
                break;
            };
            ready += usize::from(one.starts_with('Z'));
            said.push(one);
        }
        said
    }

    /// One message, but ParameterStatus and such.
    pub async fn read_one(&mut self) -> Option<String> {
        loop {
            let mut frames = Frames::new(Direction::Backend, &self.input);
            if let Next::Frame(frame) = frames.next().unwrap() {
                let said = describe(frame.tag, frame.body);
                let length = frame.bytes.len();
                self.seen.extend_from_slice(frame.bytes);
                let _ = self.input.split_to(length);
                match said {
                    Some(said) => return Some(said),
                    None => continue,
                }
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

fn describe(tag: u8, body: &[u8]) -> Option<String> {
    Some(match tag {
        b'S' | b'K' | b'N' => return None,
        b'R' => "R".to_owned(),
        b'E' => format!("E:{}", ErrorFields::decode(body).unwrap().code()),
        b'Z' => format!("Z:{}", char::from(body[0])),
        b'C' => format!("C:{}", String::from_utf8_lossy(&body[..body.len() - 1])),
        b'D' => {
            let length = usize::try_from(i32::from_be_bytes(body[2..6].try_into().unwrap())).unwrap_or(0);
            format!("D:{}", String::from_utf8_lossy(&body[6..6 + length]))
        }
        tag => char::from(tag).to_string(),
    })
}
