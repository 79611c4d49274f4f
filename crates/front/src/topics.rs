//! Who follows what: one publication reaches every viewer of its topic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use slab::Slab;

use crate::grpc;
use crate::lock;
use crate::outgoing::{Delivery, Outgoing, StreamKind};
use crate::reply::{Follow, Publication};

#[derive(Default)]
pub(crate) struct Topics {
    topics: Mutex<HashMap<u128, Topic>>,
}

#[derive(Default)]
struct Topic {
    grpc: usize,
    sse: usize,
    viewers: Slab<Arc<Outgoing>>,
}

impl Topic {
    fn count(&mut self, kind: StreamKind) -> &mut usize {
        match kind {
            StreamKind::Grpc => &mut self.grpc,
            StreamKind::Sse | StreamKind::Raw => &mut self.sse,
        }
    }

    fn remove(&mut self, place: usize) {
        if let Some(viewer) = self.viewers.try_remove(place) {
            *self.count(viewer.kind) -= 1;
        }
    }
}

impl Topics {
    pub(crate) fn subscribe(&self, viewer: &Arc<Outgoing>, follow: Follow) {
        self.unsubscribe(viewer);
        let mut topics = lock(&self.topics);
        let topic = topics.entry(follow.topic).or_default();
        let place = topic.viewers.insert(Arc::clone(viewer));
        *topic.count(viewer.kind) += 1;
        if !viewer.follow(follow, place) {
            topic.remove(place);
        }
        if topic.viewers.is_empty() {
            topics.remove(&follow.topic);
        }
    }

    pub(crate) fn unsubscribe(&self, viewer: &Outgoing) {
        let mut topics = lock(&self.topics);
        let Some((name, place)) = viewer.unfollow() else { return };
        if let Some(topic) = topics.get_mut(&name) {
            topic.remove(place);
            if topic.viewers.is_empty() {
                topics.remove(&name);
            }
        }
    }

    /// gRPC and SSE viewers of a topic.
    pub(crate) fn subscribers(&self, topic: u128) -> (usize, usize) {
        lock(&self.topics).get(&topic).map_or((0, 0), |topic| (topic.grpc, topic.sse))
    }

    /// Delivers a batch; gives the number of deliveries and those that were too slow, who have left their topic.
    pub(crate) fn publish(&self, batch: &[Publication]) -> (usize, Vec<Arc<Outgoing>>) {
        let mut slow = Vec::new();
        let mut deliveries = 0;
        let mut topics = lock(&self.topics);
        for publication in batch {
            let Some(topic) = topics.get_mut(&publication.topic) else { continue };
            let framed = if topic.grpc > 0 && !publication.grpc.is_empty() {
                grpc::frame(&publication.grpc)
            } else {
                Bytes::new()
            };
            let slow_before = slow.len();
            for (_, viewer) in &topic.viewers {
                let data = if viewer.kind == StreamKind::Grpc { &framed } else { &publication.sse };
                match viewer.deliver(publication.offset, data) {
                    Delivery::Buffered => deliveries += 1,
                    Delivery::Skipped => {}
                    Delivery::TooSlow => slow.push(Arc::clone(viewer)),
                }
            }
            for viewer in slow.iter().skip(slow_before) {
                if let Some((_, place)) = viewer.unfollow() {
                    topic.remove(place);
                }
            }
            if topic.viewers.is_empty() {
                topics.remove(&publication.topic);
            }
        }
        (deliveries, slow)
    }

    /// Everyone leaves a topic.
    pub(crate) fn close(&self, topic: u128) -> Vec<Arc<Outgoing>> {
        let mut topics = lock(&self.topics);
        let viewers: Vec<_> =
            topics.remove(&topic).map(|topic| topic.viewers.into_iter().map(|(_, v)| v).collect()).unwrap_or_default();
        for viewer in &viewers {
            viewer.unfollow();
        }
        viewers
    }
}
