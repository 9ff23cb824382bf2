//! This crate's transactions through awc on a thread of its own, without this crate: a simple
//! client whose renewals would not depend on the caller's thread.

use std::{net::SocketAddr, thread::JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::raw::Txns;

/// A request to the thread, with the channel that is answered once it is done.
enum Order {
    Lock(oneshot::Sender<()>),
    Release(oneshot::Sender<()>),
}

/// One key, locked and released by its own thread.
pub(crate) struct OwnThread {
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

impl OwnThread {
    pub(crate) fn new(address: SocketAddr, key: &'static str, session: &str) -> Self {
        let (orders, ordered) = mpsc::unbounded_channel();
        let txns = Txns::new(key, session);
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(obey(ordered, address, key, txns));
        });
        Self { orders, thread }
    }

    /// Locks the key, and waits for it.
    pub(crate) fn lock(&self) -> oneshot::Receiver<()> {
        self.order(Order::Lock)
    }

    pub(crate) fn release(&self) -> oneshot::Receiver<()> {
        self.order(Order::Release)
    }

    fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) -> oneshot::Receiver<()> {
        let (done, is_done) = oneshot::channel();
        assert!(self.orders.send(order(done)).is_ok(), "the thread has ended");
        is_done
    }

    pub(crate) fn end(self) {
        drop(self.orders);
        self.thread.join().expect("no panic");
    }
}

/// Executes the orders.
async fn obey(
    mut orders: mpsc::UnboundedReceiver<Order>,
    address: SocketAddr,
    key: &str,
    txns: Txns,
) {
    let calls = Calls::new(address);
    let mut locked = String::new();
    while let Some(order) = orders.recv().await {
        let done = match order {
            Order::Lock(done) => {
                locked = calls.lock(key, &txns).await;
                done
            }
            Order::Release(done) => {
                calls.txn(txns.release(&locked)).await.expect("a release");
                done
            }
        };
        done.send(()).expect("a caller");
    }
}

/// Calls through awc, on the waiting thread.
pub(crate) struct Calls {
    client: awc::Client,
    url: String,
}

impl Calls {
    /// Belongs to an actix runtime, or a set of local tasks.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let client = awc::Client::builder().no_default_headers().disable_timeout().finish();
        Self { client, url: format!("http://{address}/v1") }
    }

    /// The reply to a transaction; `None` if Consul did not apply it.
    pub(crate) async fn txn(&self, body: String) -> Option<String> {
        let request = self.client.put(format!("{}/txn", self.url));
        let mut answer = request.send_body(body).await.expect("an answer");
        let body = answer.body().await.expect("a whole body");
        (answer.status() == 200).then(|| String::from_utf8(body.into()).expect("text"))
    }

    /// Locks the key once it is free; returns the reply.
    async fn lock(&self, key: &str, txns: &Txns) -> String {
        loop {
            if let Some(locked) = self.txn(txns.lock().to_owned()).await {
                return locked;
            }
            let url = format!("{}/kv/{key}", self.url);
            let mut found = self.client.get(&url).send().await.expect("an answer");
            let index = found.headers().get("x-consul-index").expect("an index");
            let index = index.to_str().expect("text").to_owned();
            let entry = found.body().await.expect("a whole body");
            if String::from_utf8_lossy(&entry).contains(r#""Session""#) {
                let url = format!("{url}?index={index}&wait=60s");
                let mut changed = self.client.get(&url).send().await.expect("an answer");
                changed.body().await.expect("a whole body");
            }
        }
    }
}
