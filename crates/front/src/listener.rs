//! Listening sockets, and the loop that accepts.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::connection;
use crate::error::FrontError;
use crate::house::House;

/// Connections that the kernel keeps for us; it cuts it to its own limit.
const BACKLOG: i32 = 4_096;
/// After an error such as "too many open files" there is nothing to do but to wait for one to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that listens on `addr`. With `SO_REUSEADDR`, so that a restart does not wait for old connections; without
/// `SO_REUSEPORT` unless asked, so that a second process is refused.
pub(crate) fn bind(addr: SocketAddr, reuse_port: bool) -> Result<TcpListener, FrontError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => FrontError::PortInUse(addr),
        _ => FrontError::Bind(addr, error),
    })
}

/// A socket that was opened by somebody else.
pub(crate) fn adopt(fd: OwnedFd) -> io::Result<TcpListener> {
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts until the house stops; then the socket is closed.
pub(crate) async fn accept(listener: tokio::net::TcpListener, house: Arc<House>) {
    let mut stopping = house.stopping.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(connected) = house.connect() else { continue };
                // Answers are written whole; waiting for more to send would only delay them.
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection::serve(stream, peer, Arc::clone(&house), connected));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
