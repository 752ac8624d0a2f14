//! A connection to a store that a test can cut.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
};

/// Passes bytes on to a store while open. Shut, it cuts what goes through it and
/// refuses what comes.
#[derive(Clone)]
pub struct Valve {
    pub address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
}

impl Valve {
    pub async fn start(runtime: &Handle, store: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (open, is_open) = watch::channel(true);
        let connections = runtime.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, store, is_open.clone()));
            }
        });
        Ok(Self { address, open: Arc::new(open) })
    }

    pub fn shut(&self) {
        self.open.send_replace(false);
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(mut client: TcpStream, store: SocketAddr, mut is_open: watch::Receiver<bool>) {
    if !*is_open.borrow() {
        return;
    }
    let Ok(mut store) = TcpStream::connect(store).await else { return };
    tokio::select! {
        _ = is_open.wait_for(|open| !open) => (),
        _ = copy_bidirectional(&mut client, &mut store) => (),
    }
}
