//! A connection that does not wait for ever for its client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Fails when a write waits and the client takes not a byte for `patience`: its answer fills memory
/// meanwhile. There is a timer only while a write waits.
#[derive(Debug)]
pub(super) struct Impatient<S> {
    stream: S,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            waiting: None,
        }
    }

    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waiting.as_mut().poll(task).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not take its answer",
            ))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.judge(written, task)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(task, parts);
        self.judge(written, task)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn each_byte_that_is_taken_buys_time_and_without_one_the_write_fails() {
        let (mut client, server) = tokio::io::duplex(4);
        let patience = Duration::from_secs(30);
        let mut server = Impatient::new(server, patience);
        let taking = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(29)).await;
                client.read_u8().await.unwrap();
            }
            tokio::time::Instant::now()
        };
        let (written, last) = tokio::join!(server.write_all(&[0; 100]), taking);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(last.elapsed() >= patience, "{:?}", last.elapsed());
        // Bytes taken count as progress: a later write has all its time again.
        client.read_exact(&mut [0; 4]).await.unwrap();
        tokio::time::sleep(2 * patience).await;
        server.write_all(&[0; 4]).await.unwrap();
    }
}
