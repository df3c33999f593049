//! A mail server that follows a script and keeps what it was told.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// How it behaves.
#[derive(Clone)]
pub struct Script {
    /// TLS from the first byte.
    pub implicit: bool,
    /// What it offers after EHLO, before TLS and under it.
    pub offers: (&'static [&'static str], &'static [&'static str]),
    /// What it says to commands that begin so, instead of what it would.
    pub says: Vec<(&'static str, &'static str)>,
    /// What it greets with.
    pub greeting: &'static str,
}

impl Default for Script {
    fn default() -> Self {
        let offers: (&[&str], &[&str]) = (&["SIZE 100000", "STARTTLS"], &["SIZE 100000", "AUTH LOGIN PLAIN"]);
        Self { implicit: false, offers, says: Vec::new(), greeting: "220 mail.example ready" }
    }
}

/// What it was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Commands, each with `tls ` in front where it came under TLS.
    pub commands: Vec<String>,
    /// Contents taken.
    pub mails: Vec<String>,
}

#[derive(Clone)]
pub struct MailServer {
    pub port: u16,
    told: Arc<Mutex<Told>>,
}

impl MailServer {
    pub async fn start(script: Script, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Arc::new(Mutex::new(Told::default()));
        let kept = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connection(stream, &script, acceptor.as_ref(), &kept).await;
            }
        });
        Self { port, told }
    }

    pub fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }
}

async fn connection(stream: TcpStream, script: &Script, acceptor: Option<&TlsAcceptor>, told: &Mutex<Told>) {
    if script.implicit {
        if let Ok(stream) = acceptor.unwrap().accept(stream).await {
            dialogue(stream, script, true, true, told).await;
        }
        return;
    }
    if let Some(stream) = dialogue(stream, script, false, true, told).await
        && let Ok(stream) = acceptor.unwrap().accept(stream).await
    {
        dialogue(stream, script, true, false, told).await;
    }
}

/// Until the client goes, or wants TLS: then its stream.
async fn dialogue<S>(stream: S, script: &Script, tls: bool, greet: bool, told: &Mutex<Told>) -> Option<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    if greet {
        say(&mut stream, script.greeting).await?;
    }
    loop {
        let line = line(&mut stream).await?;
        told.lock().unwrap().commands.push(format!("{}{line}", if tls { "tls " } else { "" }));
        let scripted = script.says.iter().find(|(begin, _)| line.starts_with(begin)).map(|(_, says)| *says);
        match (scripted, line.split(' ').next().unwrap_or_default()) {
            (Some(says), command) => {
                say(&mut stream, says).await?;
                if command == "STARTTLS" && says.starts_with("220") {
                    return Some(stream.into_inner());
                }
            }
            (None, "EHLO") => {
                let offers = if tls { script.offers.1 } else { script.offers.0 };
                let mut lines = vec!["250-mail.example greets you".to_owned()];
                lines.extend(offers.iter().map(|offer| format!("250-{offer}")));
                lines.push("250 HELP".to_owned());
                say(&mut stream, &lines.join("\r\n")).await?;
            }
            (None, "STARTTLS") => {
                say(&mut stream, "220 go").await?;
                return Some(stream.into_inner());
            }
            (None, "AUTH") if line == "AUTH LOGIN" => {
                for prompt in ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] {
                    say(&mut stream, prompt).await?;
                    let answer = self::line(&mut stream).await?;
                    told.lock().unwrap().commands.push(format!("tls {answer}"));
                }
                say(&mut stream, "235 2.7.0 welcome").await?;
            }
            (None, "AUTH") => say(&mut stream, "235 2.7.0 welcome").await?,
            (None, "DATA") => {
                say(&mut stream, "354 go on").await?;
                let mut content = String::new();
                loop {
                    let line = self::line(&mut stream).await?;
                    if line == "." {
                        break;
                    }
                    content.push_str(line.strip_prefix('.').unwrap_or(&line));
                    content.push_str("\r\n");
                }
                let says =
                    script.says.iter().find(|(begin, _)| *begin == ".").map_or("250 2.0.0 taken", |(_, s)| s);
                if says.starts_with('2') {
                    told.lock().unwrap().mails.push(content);
                }
                say(&mut stream, says).await?;
            }
            (None, "QUIT") => {
                say(&mut stream, "221 bye").await?;
                return None;
            }
            (None, _) => say(&mut stream, "250 2.1.0 fine").await?,
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, text: &str) -> Option<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}
