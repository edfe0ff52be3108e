//! A relay between a node and its database that can be cut, as a network is: nothing is closed, and nothing arrives.

use std::time::Duration;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Forwards connections to a port of this machine.
pub struct Relay {
    pub port: u16,
    is_cut: watch::Sender<bool>,
}

impl Relay {
    /// Starts a relay to this port.
    pub async fn start(target: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_cut, cut) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((client, _)) => drop(tokio::spawn(forward(client, target, cut.clone()))),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        });
        Relay { port, is_cut }
    }

    /// Forwards nothing any more; connections stay open.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Forwards new connections again. Those that were cut are closed.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn forward(mut client: TcpStream, target: u16, mut cut: watch::Receiver<bool>) {
    if !*cut.borrow_and_update() {
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => return,
            _ = cut.wait_for(|is_cut| *is_cut) => {}
        }
        // Neither side hears of the cut before it is mended.
        let _ = cut.wait_for(|is_cut| !is_cut).await;
        return;
    }
    let _ = cut.wait_for(|is_cut| !is_cut).await;
}
