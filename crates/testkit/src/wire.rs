//! Just enough of HTTP/1.1 to find where messages begin and end: what our proxies are made of.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_HEAD: usize = 64 * 1024;
const READ: usize = 64 * 1024;

/// How long a message's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// The first line and the headers of a message, as they came.
#[derive(Debug, Clone)]
pub(crate) struct Head(String);

/// A connection with what has been read of it and not used yet.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    ahead: Vec<u8>,
}

impl Head {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn word(&self, number: usize) -> &str {
        self.0.lines().next().unwrap_or_default().split(' ').nth(number).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    pub(crate) fn target(&self) -> &str {
        self.word(1)
    }

    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.0.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn framing(&self) -> Option<Framing> {
        let encoding = self.header("Transfer-Encoding").unwrap_or_default();
        if encoding.to_ascii_lowercase().contains("chunked") {
            return Some(Framing::Chunked);
        }
        self.header("Content-Length")?.parse().ok().map(Framing::Length)
    }

    pub(crate) fn request_framing(&self) -> Framing {
        self.framing().unwrap_or(Framing::Length(0))
    }

    pub(crate) fn response_framing(&self) -> Framing {
        match self.status() {
            100..=199 | 204 | 304 => Framing::Length(0),
            _ => self.framing().unwrap_or(Framing::UntilClose),
        }
    }

    /// Removes `Expect: 100-continue`; whether it was there.
    pub(crate) fn take_expectation(&mut self) -> bool {
        let expects = self.header("Expect").is_some();
        self.remove("Expect");
        expects
    }

    fn remove(&mut self, name: &str) {
        let mut lines = self.0.split_inclusive("\r\n");
        let mut kept = lines.next().unwrap_or_default().to_owned();
        for line in lines {
            let found = line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
            if !found {
                kept.push_str(line);
            }
        }
        self.0 = kept;
    }

    /// Replaces a header; adds it when it was not there only if `add` says so.
    pub(crate) fn set(&mut self, name: &str, value: &str, add: bool) {
        if self.header(name).is_none() && !add {
            return;
        }
        self.remove(name);
        let end = self.0.len().saturating_sub(2);
        self.0.insert_str(end, &format!("{name}: {value}\r\n"));
    }

    /// Announces a body of this length, whole. The answer to a HEAD keeps what it says.
    pub(crate) fn set_length(&mut self, length: usize, bodiless: bool) {
        if !bodiless {
            self.remove("Transfer-Encoding");
            self.set("Content-Length", &length.to_string(), true);
        }
    }
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    /// Reads more. `false` at the end of the connection.
    async fn more(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; READ];
        let length = self.stream.read(&mut buffer).await?;
        buffer.truncate(length);
        self.ahead.append(&mut buffer);
        Ok(length > 0)
    }

    async fn need(&mut self) -> io::Result<()> {
        if self.more().await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next message's head. `None` when the other side has closed between messages.
    pub(crate) async fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.ahead.split_off(end + 4);
                let head = std::mem::replace(&mut self.ahead, rest);
                return Ok(Some(Head(String::from_utf8_lossy(&head).into_owned())));
            }
            if self.ahead.len() > MAX_HEAD {
                return Err(io::Error::other("the head of a message is too long"));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Passes a body on, at most `limit` bytes of it.
    pub(crate) async fn copy(
        &mut self,
        framing: Framing,
        to: &mut (impl AsyncWrite + Unpin),
        mut limit: u64,
    ) -> io::Result<()> {
        match framing {
            Framing::Length(length) => self.copy_exactly(length, to, &mut limit).await?,
            Framing::UntilClose => loop {
                self.copy_exactly(self.ahead.len() as u64, to, &mut limit).await?;
                if limit == 0 || !self.more().await? {
                    break;
                }
            },
            Framing::Chunked => {
                while limit > 0 {
                    let line = self.read_line().await?;
                    let size = line.split([';', '\r']).next().unwrap_or_default();
                    let size = u64::from_str_radix(size.trim(), 16)
                        .map_err(|_| io::Error::other("not a chunk's size"))?;
                    write_some(to, line.as_bytes(), &mut limit).await?;
                    if size == 0 {
                        // Trailers, up to an empty line.
                        loop {
                            let line = self.read_line().await?;
                            write_some(to, line.as_bytes(), &mut limit).await?;
                            if line == "\r\n" {
                                break;
                            }
                        }
                        break;
                    }
                    self.copy_exactly(size + 2, to, &mut limit).await?;
                }
            }
        }
        to.flush().await
    }

    async fn copy_exactly(
        &mut self,
        mut bytes: u64,
        to: &mut (impl AsyncWrite + Unpin),
        limit: &mut u64,
    ) -> io::Result<()> {
        while bytes > 0 && *limit > 0 {
            if self.ahead.is_empty() {
                self.need().await?;
            }
            let now = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.ahead.len());
            let rest = self.ahead.split_off(now);
            let piece = std::mem::replace(&mut self.ahead, rest);
            write_some(to, &piece, limit).await?;
            bytes -= now as u64;
        }
        Ok(())
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let rest = self.ahead.split_off(end + 2);
                let line = std::mem::replace(&mut self.ahead, rest);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.need().await?;
        }
    }

    /// Reads a body and forgets it.
    pub(crate) async fn discard(&mut self, framing: Framing) -> io::Result<()> {
        self.copy(framing, &mut tokio::io::sink(), u64::MAX).await
    }

    /// Passes on so many bytes of a body whose length is known, and tells what is left of it.
    pub(crate) async fn copy_some(
        &mut self,
        framing: Framing,
        to: &mut (impl AsyncWrite + Unpin),
        bytes: u64,
    ) -> io::Result<Framing> {
        let Framing::Length(length) = framing else {
            return Err(io::Error::other("a body of unknown length cannot be held"));
        };
        let now = bytes.min(length);
        self.copy(Framing::Length(now), to, u64::MAX).await?;
        Ok(Framing::Length(length - now))
    }

    /// Reads at most so much of a body.
    pub(crate) async fn discard_some(&mut self, framing: Framing, bytes: u64) -> io::Result<()> {
        self.copy(framing, &mut tokio::io::sink(), bytes).await
    }

    /// Reads a whole body as it came, with the marks of its chunks.
    pub(crate) async fn raw_body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        let mut raw = Vec::new();
        self.copy(framing, &mut raw, u64::MAX).await?;
        Ok(raw)
    }

    /// Reads a whole body, without the marks of its chunks.
    pub(crate) async fn body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        let raw = self.raw_body(framing).await?;
        if framing != Framing::Chunked {
            return Ok(raw);
        }
        let mut body = Vec::new();
        let mut rest = raw.as_slice();
        while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
            let size = rest.get(..end).map(String::from_utf8_lossy).unwrap_or_default();
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or_default();
            let Some(chunk) = rest.get(end + 2..end + 2 + size) else {
                break;
            };
            if size == 0 {
                break;
            }
            body.extend_from_slice(chunk);
            rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
        }
        Ok(body)
    }

    /// Waits until the other side gives up.
    pub(crate) async fn until_closed(&mut self) -> io::Result<()> {
        while self.more().await? {
            self.ahead.clear();
        }
        Ok(())
    }
}

async fn write_some(
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    limit: &mut u64,
) -> io::Result<()> {
    let now = usize::try_from(*limit).unwrap_or(usize::MAX).min(bytes.len());
    to.write_all(bytes.get(..now).unwrap_or_default()).await?;
    *limit -= now as u64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        Head(text.replace('\n', "\r\n"))
    }

    #[test]
    fn where_messages_end() {
        let put = head("PUT /b/k?x=1 HTTP/1.1\nHost: h\ncontent-length: 5\n\n");
        assert_eq!((put.method(), put.target()), ("PUT", "/b/k?x=1"));
        assert_eq!(put.request_framing(), Framing::Length(5));
        assert_eq!(head("GET / HTTP/1.1\n\n").request_framing(), Framing::Length(0));
        let chunked = head("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n");
        assert_eq!((chunked.status(), chunked.response_framing()), (200, Framing::Chunked));
        assert_eq!(head("HTTP/1.1 200 OK\n\n").response_framing(), Framing::UntilClose);
        assert_eq!(head("HTTP/1.1 204 No\n\n").response_framing(), Framing::Length(0));
    }

    #[test]
    fn headers_are_replaced() {
        let mut answer = head("HTTP/1.1 200 OK\nEtag: \"a\"\nX: y\n\n");
        answer.set("ETag", "\"b\"", false);
        answer.set("Missing", "z", false);
        answer.set_length(3, false);
        let expected = "HTTP/1.1 200 OK\nX: y\nETag: \"b\"\nContent-Length: 3\n\n";
        assert_eq!(answer.0, expected.replace('\n', "\r\n"));
    }

    #[test]
    fn an_expectation_is_taken_out() {
        let mut put = head("PUT / HTTP/1.1\nExpect: 100-continue\nHost: h\n\n");
        assert!(put.take_expectation());
        assert_eq!(put.0, "PUT / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(!put.take_expectation());
    }
}
