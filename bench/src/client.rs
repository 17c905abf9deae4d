//! One keep-alive HTTP/1.1 connection, driven by whoever asks: no pool, no task beside it.

use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A request that can be sent again and again.
pub type Ask = Request<Full<Bytes>>;

/// A request without a body.
pub fn get(path: &str) -> anyhow::Result<Ask> {
    ask(Method::GET, path, Bytes::new())
}

/// A request with a JSON body.
pub fn post(path: &str, body: &Value) -> anyhow::Result<Ask> {
    let mut ask = ask(Method::POST, path, body.to_string().into())?;
    ask.headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(ask)
}

fn ask(method: Method, path: &str, body: Bytes) -> anyhow::Result<Ask> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Full::new(body))
        .with_context(|| format!("{path} is no path"))
}

/// `ask` on behalf of the account whose token it is.
pub fn signed(mut ask: Ask, token: &str) -> anyhow::Result<Ask> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"))?;
    ask.headers_mut().insert(AUTHORIZATION, value);
    Ok(ask)
}

/// `ask` with one more header.
pub fn with(mut ask: Ask, name: &'static str, value: &'static str) -> Ask {
    ask.headers_mut().insert(
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    );
    ask
}

/// A keep-alive connection to one server.
pub struct Client {
    host: HeaderValue,
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
}

impl Client {
    /// Opens a connection to `address`.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            host: HeaderValue::from_str(&address.to_string())?,
            sender,
            driver: Box::pin(driver),
        })
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, ask: &Ask) -> anyhow::Result<Response<Bytes>> {
        let mut ask = ask.clone();
        ask.headers_mut().insert(HOST, self.host.clone());
        let exchange = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(ask).await?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::select! {
            biased;
            done = exchange => done,
            ended = &mut self.driver => {
                ended?;
                anyhow::bail!("the server closed the connection")
            }
        }
    }

    /// Sends a request that must be answered with `expected`.
    pub async fn expect(
        &mut self,
        ask: &Ask,
        expected: StatusCode,
    ) -> anyhow::Result<Response<Bytes>> {
        let answer = self.send(ask).await?;
        anyhow::ensure!(
            answer.status() == expected,
            "{} {} was answered with {}: {}",
            ask.method(),
            ask.uri(),
            answer.status(),
            String::from_utf8_lossy(answer.body())
        );
        Ok(answer)
    }

    /// Sends a request that must be answered with `expected` and JSON.
    pub async fn json(&mut self, ask: &Ask, expected: StatusCode) -> anyhow::Result<Value> {
        let answer = self.expect(ask, expected).await?;
        serde_json::from_slice(answer.body())
            .with_context(|| format!("{} was not answered with JSON", ask.uri()))
    }
}
