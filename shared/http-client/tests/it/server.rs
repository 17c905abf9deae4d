//! A server that does what it is told, request by request.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What becomes of a request, once it was read.
#[derive(Debug, Clone)]
pub enum Does {
    /// It is answered by these bytes.
    Answer(String),
    /// It is answered by them after a while.
    Late(Duration, String),
    /// It is answered by bytes, and after a while by more that nobody asked for.
    Twice(String, Duration, String),
    /// Never.
    Never,
    /// The connection is closed after these bytes, or without any.
    Close(String),
    /// These bytes come again and again until the client goes away.
    Endless(String, String),
    /// These bytes come, and no more.
    Stall(String),
    /// It is answered by 200 where this text is in it, and else by 401.
    Wants(&'static str),
}

/// An answer with a status, headers and a body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Does {
    let mut text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    Does::Answer(text + "\r\n" + body)
}

/// 200 with a body.
pub fn ok(body: &str) -> Does {
    answer(200, &[], body)
}

/// It listens on a port of its own until the test ends.
pub struct Server {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<u32>>,
}

impl Server {
    /// Does these things, one a request; the last one ever after.
    pub async fn doing(script: impl Into<Vec<Does>>) -> Self {
        Self::over(None, script.into()).await
    }

    /// The same over TLS.
    pub async fn with_tls(tls: TlsAcceptor, script: impl Into<Vec<Does>>) -> Self {
        Self::over(Some(tls), script.into()).await
    }

    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    async fn over(tls: Option<TlsAcceptor>, script: Vec<Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match &tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let server = Self {
            url,
            heard: Arc::default(),
            connections: Arc::default(),
        };
        let (heard, connections) = (server.heard.clone(), server.connections.clone());
        let script: Arc<[Does]> = script.into();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *connections.lock() += 1;
                let (heard, script, tls) = (heard.clone(), script.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &heard, &script).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &heard, &script).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The requests so far, head and body.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }

    /// The number of connections so far.
    pub fn connections(&self) -> u32 {
        *self.connections.lock()
    }

    /// The only request so far.
    #[track_caller]
    pub fn heard_once(&self) -> String {
        let heard = self.heard();
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.into_iter().next().unwrap()
    }
}

/// The value of a header in the text of a request.
pub fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let head = request.split("\r\n\r\n").next()?;
    let mut lines = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    lines.find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    heard: &Mutex<Vec<String>>,
    script: &[Does],
) {
    while let Some(request) = read(&mut stream).await {
        let number = {
            let mut heard = heard.lock();
            heard.push(request.clone());
            heard.len() - 1
        };
        let does = script.get(number).or(script.last()).unwrap();
        let goes_on = match does {
            Does::Answer(text) => write(&mut stream, text).await,
            Does::Late(after, text) => {
                tokio::time::sleep(*after).await;
                write(&mut stream, text).await
            }
            Does::Twice(text, after, more) => {
                let goes_on = write(&mut stream, text).await;
                tokio::time::sleep(*after).await;
                goes_on && write(&mut stream, more).await
            }
            Does::Never => std::future::pending().await,
            Does::Stall(text) => write(&mut stream, text).await && std::future::pending().await,
            Does::Endless(start, more) => {
                let mut goes_on = write(&mut stream, start).await;
                while goes_on {
                    goes_on = write(&mut stream, more).await;
                }
                false
            }
            Does::Wants(text) => {
                let status = if request.contains(text) { 200 } else { 401 };
                let text = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                write(&mut stream, &text).await
            }
            Does::Close(text) => {
                write(&mut stream, text).await;
                false
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// False once the client is gone.
async fn write(stream: &mut (impl AsyncWrite + Unpin), text: &str) -> bool {
    stream.write_all(text.as_bytes()).await.is_ok() && stream.flush().await.is_ok()
}

/// A request, head and body; `None` once the client is gone.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some(end) = text.find("\r\n\r\n") {
            let length = header(&text, "content-length").map_or(0, |value| value.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
