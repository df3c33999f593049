//! A browser that comes back to a port of this machine (RFC 8252 section 7.3).
//!
//! Anything on this machine, and any web page, can reach the port: only a request with the flow's state counts, and a code without our
//! verifier is worth nothing.

use std::{net::Ipv4Addr, time::Duration};

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{Terminal, Tokens};
use crate::sign_in::{
    SignInError,
    flow::{Callback, Flow, PATIENCE},
};

/// Longest request head read.
const MAX_HEAD: usize = 32 * 1024;
/// How long one request may take to arrive. Browsers open connections that they then do not use.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Connections read from at once.
const MAX_OPEN: usize = 16;

/// A sign-in in a browser, waited for on a port of 127.0.0.1.
pub struct Loopback<'a> {
    /// Where to send the browser.
    pub url: Url,
    terminal: &'a Terminal,
    listener: TcpListener,
    flow: Flow,
    path: &'static str,
}

impl Terminal {
    /// Begins a sign-in in a browser. Cancel safe.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn loopback(&self) -> Result<Loopback<'_>, SignInError> {
        let internal = |error: std::io::Error| SignInError::Internal {
            detail: format!("no port on 127.0.0.1: {error}"),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(internal)?;
        let port = listener.local_addr().map_err(internal)?.port();
        // Entra matches any port of the name `localhost` alone; elsewhere the address is what RFC 8252 section 8.3 recommends.
        let (redirect, path) = match self.view.kind.as_str() {
            "entra" => (format!("http://localhost:{port}"), "/"),
            _ => (format!("http://127.0.0.1:{port}/callback"), "/callback"),
        };
        let now = self.clock.now();
        let flow = Flow::new(&self.view.name, &self.endpoints.issuer, &self.view.client_id, &redirect, now)?;
        let url = flow.url(&self.endpoints.authorization, &self.view.scopes);
        Ok(Loopback { url, terminal: self, listener, flow, path })
    }
}

impl Loopback<'_> {
    /// Waits for the browser, at most a quarter of an hour, and redeems the code. Not cancel safe.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn came_back(self) -> Result<Tokens, SignInError> {
        timeout(PATIENCE, self.wait()).await.unwrap_or(Err(SignInError::TooLate))
    }

    async fn wait(&self) -> Result<Tokens, SignInError> {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if open.len() < MAX_OPEN => {
                    // An accept that fails is somebody who hung up.
                    if let Ok((stream, _)) = accepted {
                        open.spawn(read_head(stream));
                    }
                }
                Some(read) = open.join_next() => {
                    let Ok(Some((mut stream, head))) = read else { continue };
                    let Some(query) = self.query(&head) else {
                        answer(&mut stream, "404 Not Found", "Nothing is here.").await;
                        continue;
                    };
                    match self.redeem(query).await {
                        // Not ours: whoever it is, the person may still come back.
                        Err(SignInError::State | SignInError::Callback { .. }) => {
                            answer(&mut stream, "400 Bad Request", "This is not the answer to the sign-in that waits here.").await;
                        }
                        Err(error) => {
                            answer(&mut stream, "200 OK", "Not signed in. The terminal says why; you may close this page.").await;
                            return Err(error);
                        }
                        Ok(tokens) => {
                            answer(&mut stream, "200 OK", "Signed in. You may close this page.").await;
                            return Ok(tokens);
                        }
                    }
                }
            }
        }
    }

    /// The query of a request for our path.
    fn query<'h>(&self, head: &'h str) -> Option<&'h str> {
        let target = head.strip_prefix("GET ")?.split(' ').next()?;
        let (path, query) = target.split_once('?')?;
        (path == self.path).then_some(query)
    }

    async fn redeem(&self, query: &str) -> Result<Tokens, SignInError> {
        let callback = Callback::from_query(query)?;
        let endpoints = &self.terminal.endpoints;
        let code = self.flow.code(&callback, endpoints.names_itself, self.terminal.clock.now())?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.expose().as_str()),
            ("redirect_uri", self.flow.redirect_uri.as_str()),
            ("code_verifier", self.flow.verifier.expose().as_str()),
        ];
        let granted = self.terminal.asker().tokens(&self.terminal.http, &endpoints.token, &form).await;
        self.terminal.take(granted.map_err(|error| self.terminal.not_granted(error))?, Some(&self.flow))
    }
}

async fn read_head(mut stream: TcpStream) -> Option<(TcpStream, String)> {
    let read = async {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if head.len() > MAX_HEAD || stream.read_buf(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        String::from_utf8(head).ok()
    };
    let head = timeout(HEAD_WAIT, read).await.ok()??;
    Some((stream, head))
}

async fn answer(stream: &mut TcpStream, status: &str, text: &str) {
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Portcullis</title><p>{text}</p></html>\n"
    );
    let page = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\
         cache-control: no-store\r\nreferrer-policy: no-referrer\r\n\
         content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n\r\n{body}",
        body.len()
    );
    // A browser that went away has nothing to be told.
    let written = async {
        stream.write_all(page.as_bytes()).await?;
        stream.shutdown().await
    };
    drop(timeout(HEAD_WAIT, written).await);
}
