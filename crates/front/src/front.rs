//! The front door as its owner holds it.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::error::FrontError;
use crate::house::House;
use crate::options::Options;
use crate::reflection::Reflection;
use crate::reply::{Publication, Reply};
use crate::request::Request;
use crate::stats::Stats;
use crate::{DESCRIPTOR_SET, listener, lock};

/// How often viewers that were too slow are looked after.
const LAGGARD_TICK: Duration = Duration::from_secs(1);

/// An open front door with its threads. Dropped, it closes at once. All methods may be called from any thread;
/// `reply` and `publish` from one thread only, if streams are to have neither gap nor double.
pub struct Front {
    house: Arc<House>,
    addrs: Vec<SocketAddr>,
    runtime: Mutex<Option<Runtime>>,
}

impl Front {
    /// Binds every address, then starts to accept.
    ///
    /// # Errors
    /// [`FrontError`]; nothing listens after it.
    pub fn start(options: Options) -> Result<Self, FrontError> {
        check(&options)?;
        let reflection = Reflection::new(options.descriptor_set.as_deref().unwrap_or(DESCRIPTOR_SET))?;
        let house = Arc::new(House::new(&options, reflection)?);
        let mut listeners = Vec::new();
        for addr in &options.listen {
            listeners.push(listener::bind(*addr, options.reuse_port)?);
        }
        for fd in options.inherited {
            listeners.push(listener::adopt(fd)?);
        }
        let addrs = listeners.iter().map(std::net::TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        // With one thread too this is the multi-thread scheduler: its thread is its own, and a batch of replies from
        // outside wakes it with one write, where the current-thread one writes for each.
        let runtime = Builder::new_multi_thread()
            .worker_threads(options.threads)
            .thread_name("apex-front")
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        for listener in listeners {
            runtime.spawn(listener::accept(tokio::net::TcpListener::from_std(listener)?, Arc::clone(&house)));
        }
        drop(guard);
        runtime.spawn(tick(Arc::clone(&house), Duration::from_secs_f64(options.sse_comment_interval_s)));
        Ok(Self { house, addrs, runtime: Mutex::new(Some(runtime)) })
    }

    /// Where it listens: the addresses of the options, with the ports that were given for 0, then the inherited ones.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// An eventfd that becomes readable when there is something to drain. Owned by the front door.
    pub fn wake_fd(&self) -> RawFd {
        self.house.inbox.wake.fd()
    }

    /// Takes up to `max` requests in the order in which they came. If some are left the eventfd stays readable.
    pub fn drain(&self, max: usize) -> Vec<Request> {
        self.house.drain(max)
    }

    /// Answers, in order.
    pub fn reply(&self, batch: Vec<Reply>) {
        self.house.reply(batch);
    }

    /// Reads no more of a bidirectional call, so that flow control slows its client, or goes on reading. At once; what
    /// was read before still comes with the next `drain`s, and one message may follow it.
    pub fn hold(&self, token: u64, held: bool) {
        self.house.hold(token, held);
    }

    /// Delivers events to all viewers of their topics, in order; gives the number of deliveries. Never waits: a viewer
    /// whose buffer is full is told its last offset and closed.
    pub fn publish(&self, batch: &[Publication]) -> usize {
        self.house.publish(batch)
    }

    /// How many gRPC and how many SSE viewers follow a topic.
    pub fn subscribers(&self, topic: u128) -> (usize, usize) {
        self.house.subscribers(topic)
    }

    /// Closes the listeners, tells HTTP/2 clients to go away, ends live streams with UNAVAILABLE, reads no more from
    /// bidirectional calls. Requests that were accepted still get their answers: go on with `drain` and `reply`.
    pub fn stop_accepting(&self) {
        self.house.stop();
    }

    /// Stops accepting, waits until every connection has ended, at most for `grace`, then ends the threads. True if
    /// nothing was cut off. Blocks: call it beside the thread that answers.
    pub fn shutdown(&self, grace: Duration) -> bool {
        self.house.stop();
        let emptied = self.house.wait_until_empty(grace);
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        emptied
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        self.house.stats()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

fn check(options: &Options) -> Result<(), FrontError> {
    let refuse = |sentence: String| Err(FrontError::Options(sentence));
    if options.listen.is_empty() && options.inherited.is_empty() {
        return refuse("there is no address to listen on".to_owned());
    }
    if options.threads == 0 {
        return refuse("threads must be at least 1".to_owned());
    }
    if options.methods.len() > usize::from(u16::MAX) {
        return refuse("there are more than 65535 methods".to_owned());
    }
    for (name, seconds) in [
        ("keepalive_s", options.keepalive_s),
        ("header_read_timeout_s", options.header_read_timeout_s),
        ("body_read_timeout_s", options.body_read_timeout_s),
        ("sse_comment_interval_s", options.sse_comment_interval_s),
        ("slow_close_s", options.slow_close_s),
        ("retry_after_s", options.retry_after_s),
    ] {
        if !(0.001..=86_400.0).contains(&seconds) {
            return refuse(format!("{name} must be between 0.001 and 86400"));
        }
    }
    Ok(())
}

async fn tick(house: Arc<House>, comment_interval: Duration) {
    let mut comments = interval_at(Instant::now() + comment_interval, comment_interval);
    comments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut laggards = interval(LAGGARD_TICK);
    laggards.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = comments.tick() => house.comment(),
            _ = laggards.tick() => house.drop_laggards(),
        }
    }
}
