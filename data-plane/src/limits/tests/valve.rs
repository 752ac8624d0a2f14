//! A connection to a store that a test can freeze: what is sent through it is taken and
//! goes nowhere, as with a store that was stopped.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub struct Valve {
    pub address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    _tasks: JoinSet<io::Result<()>>,
}

impl Valve {
    pub async fn start(store: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await?;
                connections.spawn(pass(client, store, is_open.clone()));
            }
        });
        Self { address, open: Arc::new(open), _tasks: tasks }
    }

    pub fn freeze(&self) {
        self.open.send_replace(false);
    }

    pub fn thaw(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(client: TcpStream, store: SocketAddr, open: watch::Receiver<bool>) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_store, mut to_store) = TcpStream::connect(store).await?.into_split();
    tokio::try_join!(
        one_way(&mut from_client, &mut to_store, open.clone()),
        one_way(&mut from_store, &mut to_client, open),
    )?;
    Ok(())
}

async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut open: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        open.wait_for(|open| *open).await.map_err(io::Error::other)?;
        to.write_all(&bytes[..read]).await?;
    }
}
