//! A node that says by HTTP what it was told to say.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

/// Answers until the test ends.
pub(crate) struct FakeNode {
    pub(crate) address: String,
}

/// What `/api/v1/node` says of a node of this name.
pub(crate) fn node(name: &str) -> Value {
    json!({"node": name, "version": "1.2.3", "bucket": "file:///b", "trusted": true, "lease_seconds": 7.5,
           "shards": 1, "databases": 3, "pending": 1, "failing": 0, "exposure_seconds": 4.5,
           "uptime_seconds": 60.0})
}

/// What `/api/v1/shards` says of one shard.
pub(crate) fn shard(shard: u32, epoch: u64, exposure: f64) -> Value {
    json!({"volume": "default", "shard": shard, "epoch": epoch, "phase": "owned",
           "since": "2024-01-15T13:05:00Z", "databases": 3, "pending": 1, "failing": 0,
           "exposure_seconds": exposure})
}

impl FakeNode {
    /// One that says this, to those who know the token.
    pub(crate) fn saying(node: Value, shards: Value, token: Option<&str>) -> Self {
        let token = token.map(|token| format!("authorization: bearer {token}").to_lowercase());
        Self::start(move |stream| {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            // Who got one answer that will not do does not wait for the other.
            let Some(Ok(request)) = lines.next() else { return };
            let headers: Vec<_> =
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let knows = |token: &String| headers.iter().any(|h| h.to_lowercase() == *token);
            let body = match request.split(' ').nth(1) {
                _ if !token.as_ref().is_none_or(knows) => None,
                Some("/api/v1/node") => Some(node.to_string()),
                Some("/api/v1/shards") => Some(shards.to_string()),
                other => panic!("{other:?}"),
            };
            let status = if body.is_some() { "200 OK" } else { "401 Unauthorized" };
            let body = body.unwrap_or_default();
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close");
            let _ = write!(stream, "{head}\r\n\r\n{body}");
        })
    }

    /// One that answers at each path with a status and a text, to anybody.
    pub(crate) fn telling(answers: &[(&'static str, u16, &'static str)]) -> Self {
        let answers = answers.to_vec();
        Self::start(move |stream| {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            let path = request.split(' ').nth(1).unwrap();
            let (_, status, body) = answers.iter().find(|answer| answer.0 == path).unwrap();
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        })
    }

    /// One that takes connections and says nothing.
    pub(crate) fn silent() -> Self {
        let mut kept = Vec::new();
        Self::start(move |stream| kept.push(stream.try_clone().unwrap()))
    }

    fn start(mut serve: impl FnMut(&mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|mut it| serve(&mut it)));
        Self { address }
    }
}
