//! A thread that waits for the GPU, so that nobody else has to.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use futures_channel::oneshot;

/// Something to wait for: it blocks until it is done, and then tells whoever asked.
pub(crate) type Wait = Box<dyn FnOnce() + Send>;

/// The thread. Dropping it waits for what it was given.
pub(crate) struct Waiter {
    waits: Option<Sender<Wait>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiter {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (sender, receiver) = channel::<Wait>();
        let thread = std::thread::Builder::new()
            .name("anylora-cuda".to_owned())
            .spawn(move || receiver.into_iter().for_each(|wait| wait()))?;
        Ok(Self {
            waits: Some(sender),
            thread: Some(thread),
        })
    }

    /// What `wait` brings back, once the thread comes to it. A receiver whose thread ended is cancelled.
    pub(crate) fn after<T: Send + 'static>(
        &self,
        wait: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        if let Some(waits) = &self.waits {
            // Where the thread has ended, the sender is dropped and the receiver sees that.
            let _ = waits.send(Box::new(move || {
                let _ = sender.send(wait());
            }));
        }
        receiver
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waits = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
