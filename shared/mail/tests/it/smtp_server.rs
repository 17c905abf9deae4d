//! An SMTP server whose answers are chosen line by line.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What becomes of a line.
#[derive(Debug, Clone)]
pub enum Says {
    /// This answer.
    Line(&'static str),
    /// Nothing, ever.
    Nothing,
    /// The connection is closed.
    Closes,
}

/// When TLS begins.
#[derive(Clone, Default)]
pub enum Tls {
    #[default]
    Never,
    AtOnce(TlsAcceptor),
    OnDemand(TlsAcceptor),
}

#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    texts: Vec<String>,
    open: usize,
    most_open: usize,
}

/// The usual answers, but for the steps that a test names: `connect`, `EHLO`, `AUTH`, `MAIL`, `RCPT`, `DATA`, `text`,
/// `QUIT`.
pub struct SmtpServer {
    pub port: u16,
    heard: Arc<Mutex<Heard>>,
}

type Script = Arc<BTreeMap<&'static str, Says>>;

impl SmtpServer {
    pub async fn saying(steps: &[(&'static str, Says)]) -> Self {
        Self::over(Tls::Never, steps).await
    }

    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    pub async fn over(tls: Tls, steps: &[(&'static str, Says)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let of_server = Arc::clone(&heard);
        let script: Script = Arc::new(steps.iter().cloned().collect());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, heard, tls) = (script.clone(), of_server.clone(), tls.clone());
                tokio::spawn(async move {
                    {
                        let mut heard = heard.lock();
                        heard.open += 1;
                        heard.most_open = heard.most_open.max(heard.open);
                    }
                    // A client that breaks off, or refuses a certificate, ends it.
                    let _ = connection(stream, tls, &script, &heard).await;
                    heard.lock().open -= 1;
                });
            }
        });
        Self { port, heard }
    }

    /// All lines of clients, but for texts.
    pub fn lines(&self) -> Vec<String> {
        self.heard.lock().lines.clone()
    }

    /// The texts that were ended by a dot, as they were before SMTP guarded their dots.
    pub fn texts(&self) -> Vec<String> {
        self.heard.lock().texts.clone()
    }

    /// The most connections that there were at a time.
    pub fn most_open(&self) -> usize {
        self.heard.lock().most_open
    }
}

async fn connection(
    stream: TcpStream,
    tls: Tls,
    script: &Script,
    heard: &Mutex<Heard>,
) -> std::io::Result<()> {
    match tls {
        Tls::Never => drop(session(stream, script, heard, true, None).await?),
        Tls::AtOnce(tls) => {
            drop(session(tls.accept(stream).await?, script, heard, true, None).await?);
        }
        Tls::OnDemand(tls) => {
            let upgrade = Some("250-STARTTLS\r\n");
            if let Some(stream) = session(stream, script, heard, true, upgrade).await? {
                let stream = tls.accept(stream).await?;
                drop(session(stream, script, heard, false, None).await?);
            }
        }
    }
    Ok(())
}

/// Talks until the end, or until the client begins TLS, and then gives the stream back.
async fn session<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: &Script,
    heard: &Mutex<Heard>,
    greets: bool,
    extension: Option<&str>,
) -> std::io::Result<Option<S>> {
    let usual = |step: &str| match step {
        "connect" => "220 sink ESMTP".to_owned(),
        "EHLO" => format!(
            "250-sink\r\n{}250-AUTH PLAIN\r\n250 8BITMIME",
            extension.unwrap_or_default()
        ),
        "AUTH" => "235 welcome".into(),
        "DATA" => "354 go on".into(),
        "QUIT" => "221 bye".into(),
        "STARTTLS" => "220 go ahead".into(),
        _ => "250 ok".into(),
    };
    let mut rest = Vec::new();
    let mut step = if greets {
        Some("connect".to_owned())
    } else {
        None
    };
    loop {
        if let Some(step) = &step {
            let line = match script.get(step.as_str()) {
                None => usual(step),
                Some(Says::Line(line)) => (*line).to_owned(),
                Some(Says::Nothing) => std::future::pending().await,
                Some(Says::Closes) => return Ok(None),
            };
            stream.write_all(format!("{line}\r\n").as_bytes()).await?;
            stream.flush().await?;
            if step == "STARTTLS" {
                return Ok(Some(stream));
            }
            if step == "QUIT" {
                return Ok(None);
            }
            if step == "DATA" && line.starts_with("354") {
                let Some(text) = until(&mut stream, &mut rest, "\r\n.\r\n").await? else {
                    return Ok(None);
                };
                let text = format!("\r\n{text}").replace("\r\n.", "\r\n");
                heard.lock().texts.push(text.trim_start().to_owned());
                let line = match script.get("text") {
                    None => "250 taken",
                    Some(Says::Line(line)) => line,
                    Some(Says::Nothing) => std::future::pending().await,
                    Some(Says::Closes) => return Ok(None),
                };
                stream.write_all(format!("{line}\r\n").as_bytes()).await?;
            }
        }
        let Some(line) = until(&mut stream, &mut rest, "\r\n").await? else {
            return Ok(None);
        };
        heard.lock().lines.push(line.clone());
        step = line.split([' ', ':']).next().map(str::to_ascii_uppercase);
    }
}

/// What comes up to `end`; `None` once the client is gone.
async fn until(
    stream: &mut (impl AsyncRead + Unpin),
    rest: &mut Vec<u8>,
    end: &str,
) -> std::io::Result<Option<String>> {
    loop {
        let text = String::from_utf8_lossy(rest).into_owned();
        if let Some((before, after)) = text.split_once(end) {
            *rest = after.as_bytes().to_vec();
            return Ok(Some(before.to_owned()));
        }
        if stream.read_buf(rest).await? == 0 {
            return Ok(None);
        }
    }
}
