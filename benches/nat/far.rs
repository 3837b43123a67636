//! The server's end of many connections: a process of its own, because one may not have so many files.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use polc_runtime_loader::lab::Zone;
use socket2::{Domain, Socket, Type};

use crate::connections::{EXCHANGES, PATIENCE, PAYLOAD, Side, apart, payload};
use crate::router::SERVER_PORT;

/// The argument that makes this program the server.
pub(crate) const SERVE: &str = "serve";

/// The process, as the client's end sees it.
pub(crate) struct Far {
    process: Child,
    output: BufReader<ChildStdout>,
}

/// What the server's end has seen.
#[derive(Default)]
pub(crate) struct Heard {
    /// From where connections came, and which numbers they said that they have.
    pub(crate) connections: Vec<(SocketAddr, Option<usize>)>,
    /// Payloads that were wrong.
    pub(crate) corrupted: usize,
}

impl Far {
    /// Starts it on the host of a zone. It listens when this returns.
    pub(crate) fn start(zone: &Zone, count: usize) -> Self {
        let program = std::env::current_exe().expect("a program");
        let mut command = Command::new(program);
        command
            .args([SERVE, &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = zone.namespace.spawn(&mut command).expect("a process");
        let output = process.stdout.take().expect("it has an output");
        let mut far = Self {
            process,
            output: BufReader::new(output),
        };
        assert_eq!(far.line().as_deref(), Some("listens"));
        far
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line).expect("it is readable");
        (length > 0).then(|| line.trim().to_owned())
    }

    /// Tells it that no more connections come.
    pub(crate) fn all_are_open(mut self) -> Self {
        drop(self.process.stdin.take());
        self
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Heard {
        let mut heard = Heard::default();
        while let Some(line) = self.line() {
            let (word, number) = line.split_once(' ').expect("two words");
            let number = number.parse().ok();
            if word == "corrupted" {
                heard.corrupted = number.expect("a number");
            } else {
                let peer = word.parse().expect("an address");
                heard.connections.push((peer, number));
            }
        }
        let status = self.process.wait().expect("it ends");
        assert!(status.success(), "{status}");
        heard
    }
}

/// The server's end: what the process does.
pub(crate) fn serve(count: usize) {
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let listeners = any.map(|address| listen(address).expect("a listener"));
    println!("listens");
    let (accepted, opened) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut connections: Vec<Accepted> = thread::scope(|scope| {
        let threads = listeners.each_ref().map(|listener| {
            let (accepted, opened) = (&accepted, &opened);
            scope.spawn(move || accept(listener, accepted, count, opened))
        });
        // It ends when the client has no more to open.
        std::io::stdin()
            .read_to_end(&mut Vec::new())
            .expect("it is readable");
        opened.store(true, Ordering::Relaxed);
        let all = threads.map(|t| t.join().expect("it ends"));
        all.into_iter().flatten().collect()
    });
    let corrupted: usize = apart(&mut connections, answer).into_iter().sum();
    for connection in &connections {
        let number = connection
            .number
            .map_or_else(|| "-".to_owned(), |n| n.to_string());
        println!("{} {number}", connection.peer);
    }
    println!("corrupted {corrupted}");
}

fn listen(address: IpAddr) -> std::io::Result<Socket> {
    let address = SocketAddr::new(address, SERVER_PORT);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

/// A connection as the server has it: who the payload says it is, once it has said so.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    number: Option<usize>,
}

/// Accepts connections until all are there, or none comes any more.
fn accept(
    listener: &Socket,
    accepted: &AtomicUsize,
    count: usize,
    opened: &AtomicBool,
) -> Vec<Accepted> {
    let mut found = Vec::new();
    while accepted.load(Ordering::Relaxed) < count {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_read_timeout(Some(PATIENCE)).expect("a setting");
                stream.set_write_timeout(Some(PATIENCE)).expect("a setting");
                found.push(Accepted {
                    stream: stream.into(),
                    peer: peer.as_socket().expect("an address"),
                    number: None,
                });
                accepted.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if opened.load(Ordering::Relaxed) => break,
            Err(_) => {}
        }
    }
    found
}

/// Answers each connection once in each exchange. Returns how many payloads were wrong.
fn answer(connections: &mut [Accepted]) -> usize {
    let mut corrupted = 0;
    let mut bytes = vec![0; PAYLOAD];
    for exchange in 0..EXCHANGES {
        for connection in &mut *connections {
            if connection.stream.read_exact(&mut bytes).is_err() {
                // The client's end counts it.
                continue;
            }
            let said = usize::from_be_bytes(bytes[..8].try_into().expect("8 bytes"));
            let number = *connection.number.get_or_insert(said);
            corrupted += usize::from(bytes != payload(number, exchange, Side::Client));
            let back = payload(number, exchange, Side::Server);
            // Here, too.
            let _ = connection.stream.write_all(&back);
        }
    }
    corrupted
}
