//! An HTTP server that answers as it is told, one request a connection, and keeps what it got.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status line and these header lines (each with its line end), and this body.
    Say(&'static str, &'static str, String),
    /// Nothing, with the connection open.
    Hang,
    /// The connection is closed.
    HangUp,
}

impl Answer {
    pub fn ok() -> Self {
        Self::status("200 OK")
    }

    pub fn status(status: &'static str) -> Self {
        Self::Say(status, "", String::new())
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone, Debug)]
pub struct HttpServer {
    pub port: u16,
    got: Arc<Mutex<Vec<Request>>>,
}

impl HttpServer {
    /// Gives these answers, the last one again and again.
    pub async fn start(answers: Vec<Answer>) -> Self {
        Self::listen(answers, None).await
    }

    pub async fn tls(answers: Vec<Answer>, acceptor: TlsAcceptor) -> Self {
        Self::listen(answers, Some(acceptor)).await
    }

    async fn listen(mut answers: Vec<Answer>, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection without a request takes no answer.
                let kept = Arc::clone(&kept);
                let took = match &acceptor {
                    None => serve(stream, &answers[0], &kept).await,
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => serve(stream, &answers[0], &kept).await,
                        Err(_) => false,
                    },
                };
                if took && answers.len() > 1 {
                    answers.remove(0);
                }
            }
        });
        Self { port, got }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn got(&self) -> Vec<Request> {
        self.got.lock().unwrap().clone()
    }
}

async fn serve<S>(mut stream: S, answer: &Answer, kept: &Mutex<Vec<Request>>) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(request) = read(&mut stream).await else { return false };
    kept.lock().unwrap().push(request);
    match answer {
        Answer::Say(status, headers, body) => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.ok();
            stream.write_all(body.as_bytes()).await.ok();
            stream.shutdown().await.ok();
        }
        Answer::Hang => {
            tokio::spawn(async move {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.ok();
            });
        }
        Answer::HangUp => {}
    }
    true
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n").map(str::to_owned);
    let line = lines.next().unwrap();
    let headers: BTreeMap<_, _> = lines
        .map(|line| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.to_owned())).unwrap())
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { line, headers, body })
}
