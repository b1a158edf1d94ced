//! A stretch of network between clients and a server on loopback, which can be broken.
//!
//! It knows nothing of what is spoken. What it holds back is delivered when it heals, as TCP does after a
//! partition, also when the sender has given up meanwhile. Between members of etcd it can tell who sends
//! ([`Link::between_members`]), so that one of them can be cut off from the others, both ways. Dropping it
//! closes everything.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::process::free_ports;

/// How much is read at once.
const PIECE: usize = 16 * 1024;
/// How far into a connection its sender's name is looked for.
const LOOK: usize = 8 * 1024;
const SENDER: &str = "x-server-from: ";

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Passes all on.
    #[default]
    Pass,
    /// Nothing gets through, either way. Connecting seems to work.
    Cut,
    /// Nothing gets to the server; its words still get to the client.
    CutToServer,
    /// Nothing gets to the client; its words still get to the server.
    CutToClient,
    /// New connections are closed at once, and those that are open now.
    Refuse,
    /// Each piece comes so late.
    Delay(Duration),
    /// So many bytes a second, each way, for each connection.
    Throttle(u32),
    /// Each connection is closed after so many more bytes of the client.
    CloseAfter(u64),
}

impl Mode {
    fn holds(self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => matches!(self, Self::Cut | Self::CutToServer),
            Direction::ToClient => matches!(self, Self::Cut | Self::CutToClient),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// The modes of a link: one for all, and others for some senders.
#[derive(Debug, Clone, Default)]
struct Modes {
    all: Mode,
    by_sender: BTreeMap<String, Mode>,
    /// Connections that are older than this are closed.
    generation: u64,
}

impl Modes {
    fn of(&self, sender: &str) -> Mode {
        match self.all {
            Mode::Pass => self.by_sender.get(sender).copied().unwrap_or_default(),
            mode => mode,
        }
    }
}

/// A running link.
#[derive(Debug)]
pub struct Link {
    address: Ipv4Addr,
    port: u16,
    modes: watch::Sender<Modes>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// Begins a link to `upstream`, a port on loopback.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(upstream: u16) -> io::Result<Self> {
        Self::begin(Ipv4Addr::LOCALHOST, upstream, false).await
    }

    /// The same, for those who reach this host at another address, such as containers.
    ///
    /// # Errors
    /// When it is no address of this host, or no port can be had.
    pub async fn start_at(address: Ipv4Addr, upstream: u16) -> io::Result<Self> {
        Self::begin(address, upstream, false).await
    }

    /// A link to the peers' port of a member of etcd, over which other members come.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn between_members(upstream: u16) -> io::Result<Self> {
        Self::begin(Ipv4Addr::LOCALHOST, upstream, true).await
    }

    async fn begin(address: Ipv4Addr, upstream: u16, tells_senders: bool) -> io::Result<Self> {
        let [port] = free_ports();
        let listener = TcpListener::bind((address, port)).await?;
        let (modes, watched) = watch::channel(Modes::default());
        let accepting = tokio::spawn(async move {
            // Ends with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, upstream, tells_senders, watched.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, port, modes, accepting })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}:{}", self.address, self.port)
    }

    /// From now on it does this, for connections that are open, too.
    pub fn set(&self, mode: Mode) {
        self.modes.send_modify(|modes| modes.all = mode);
    }

    /// From now on it does this to what this member of etcd sends over it, and what it is answered.
    pub fn set_for(&self, sender: u64, mode: Mode) {
        self.modes.send_modify(|modes| {
            modes.by_sender.insert(format!("{sender:x}"), mode);
        });
    }

    /// Closes all connections that are open now.
    pub fn reset(&self) {
        self.modes.send_modify(|modes| modes.generation += 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection, until either side closes it, or it is cut. An error ends it, as it should.
async fn serve(
    client: TcpStream,
    upstream: u16,
    tells_senders: bool,
    modes: watch::Receiver<Modes>,
) {
    let _ = relay(client, upstream, tells_senders, modes).await;
}

async fn relay(
    mut client: TcpStream,
    upstream: u16,
    tells_senders: bool,
    modes: watch::Receiver<Modes>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    // What a connection is closed with while it is held: a reset, as by a router that forgot it.
    client.set_zero_linger()?;
    let mut ahead = Vec::new();
    let sender = if tells_senders { sender(&mut client, &mut ahead).await? } else { String::new() };
    let born = modes.borrow().generation;
    let mut ended = modes.clone();
    let is_over = |modes: &Modes| modes.generation != born || modes.of(&sender) == Mode::Refuse;
    let passing = async {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await?;
        server.set_nodelay(true)?;
        server.write_all(&ahead).await?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let there = pump(from_client, to_server, Direction::ToServer, &sender, modes.clone());
        let back = pump(from_server, to_client, Direction::ToClient, &sender, modes.clone());
        // Each side may end before the other.
        tokio::try_join!(there, back).map(|_| ())
    };
    tokio::select! {
        ended = passing => ended,
        _ = ended.wait_for(is_over) => Ok(()),
    }
}

/// Reads until the client has told which member of etcd it is.
async fn sender(client: &mut TcpStream, ahead: &mut Vec<u8>) -> io::Result<String> {
    while ahead.len() < LOOK {
        let mut piece = vec![0; PIECE];
        let length = client.read(&mut piece).await?;
        ahead.extend_from_slice(piece.get(..length).unwrap_or_default());
        let text = String::from_utf8_lossy(ahead).to_ascii_lowercase();
        if let Some((_, rest)) = text.split_once(SENDER)
            && let Some((sender, _)) = rest.split_once("\r\n")
        {
            return Ok(sender.trim().to_owned());
        }
        if length == 0 || text.contains("\r\n\r\n") {
            break;
        }
    }
    Ok(String::new())
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    sender: &str,
    mut modes: watch::Receiver<Modes>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut passed = 0;
    let mut limit_since = None;
    loop {
        let length = from.read(&mut piece).await?;
        let closed = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let open = modes.wait_for(|modes| !modes.of(sender).holds(direction)).await;
        let mode = open.map_err(|_| closed())?.of(sender);
        if length == 0 {
            return to.shutdown().await;
        }
        match mode {
            Mode::Delay(late) => tokio::time::sleep(late).await,
            Mode::Throttle(rate) => {
                let bytes = u32::try_from(length).unwrap_or(u32::MAX);
                tokio::time::sleep(Duration::from_secs(1) * bytes / rate.max(1)).await;
            }
            Mode::CloseAfter(bytes) if direction == Direction::ToServer => {
                let since = *limit_since.get_or_insert(passed);
                if passed + length as u64 - since > bytes {
                    return Err(closed());
                }
            }
            _ => limit_since = None,
        }
        to.write_all(piece.get(..length).unwrap_or_default()).await?;
        passed += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says back what it hears, on every connection.
    async fn echo() -> u16 {
        let [port] = free_ports();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        port
    }

    async fn connect(link: &Link) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await.unwrap()
    }

    async fn hears(stream: &mut TcpStream, text: &str) {
        let mut heard = vec![0; text.len()];
        let heard_all =
            tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut heard));
        heard_all.await.unwrap().unwrap();
        assert_eq!(heard, text.as_bytes());
    }

    async fn hears_nothing(stream: &mut TcpStream) {
        let within = Duration::from_millis(100);
        let heard = tokio::time::timeout(within, stream.read(&mut [0; 1])).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    #[tokio::test]
    async fn what_a_cut_holds_back_comes_when_it_heals() {
        for mode in [Mode::Cut, Mode::CutToServer, Mode::CutToClient] {
            let link = Link::start(echo().await).await.unwrap();
            let mut stream = connect(&link).await;
            stream.write_all(b"before").await.unwrap();
            hears(&mut stream, "before").await;
            link.set(mode);
            stream.write_all(b"meanwhile").await.unwrap();
            hears_nothing(&mut stream).await;
            link.set(Mode::Pass);
            hears(&mut stream, "meanwhile").await;
        }
    }

    #[tokio::test]
    async fn refusing_closes_what_is_open_and_what_comes() {
        let link = Link::start(echo().await).await.unwrap();
        let mut old = connect(&link).await;
        old.write_all(b"x").await.unwrap();
        hears(&mut old, "x").await;
        link.set(Mode::Refuse);
        assert!(!matches!(old.read(&mut [0; 1]).await, Ok(1..)));
        let mut new = connect(&link).await;
        assert!(!matches!(new.read(&mut [0; 1]).await, Ok(1..)));
        link.set(Mode::Pass);
        let mut healed = connect(&link).await;
        healed.write_all(b"y").await.unwrap();
        hears(&mut healed, "y").await;
        link.reset();
        assert!(!matches!(healed.read(&mut [0; 1]).await, Ok(1..)));
    }

    #[tokio::test]
    async fn a_connection_is_closed_after_so_many_bytes() {
        let link = Link::start(echo().await).await.unwrap();
        let mut stream = connect(&link).await;
        link.set(Mode::CloseAfter(4));
        stream.write_all(b"1234").await.unwrap();
        hears(&mut stream, "1234").await;
        stream.write_all(b"5").await.unwrap();
        assert!(!matches!(stream.read(&mut [0; 1]).await, Ok(1..)));
    }

    #[tokio::test]
    async fn one_sender_is_cut_off_and_others_are_not() {
        let link = Link::between_members(echo().await).await.unwrap();
        link.set_for(0xab, Mode::Cut);
        let head = |id: &str| format!("GET /raft HTTP/1.1\r\nX-Server-From: {id}\r\n\r\n");
        let (mut cut, mut free) = (connect(&link).await, connect(&link).await);
        cut.write_all(head("ab").as_bytes()).await.unwrap();
        free.write_all(head("cd").as_bytes()).await.unwrap();
        hears(&mut free, &head("cd")).await;
        hears_nothing(&mut cut).await;
        link.set_for(0xab, Mode::Pass);
        hears(&mut cut, &head("ab")).await;
    }
}
