//! The thread that waits for the GPU, so that no caller does. Native only: a browser calls back by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::faults::Faults;
use crate::readback::Signal;

/// Waits for submissions one after the other; what they call back then runs on its thread. Dropping it ends the
/// thread, once the submission it waits for is done.
pub(crate) struct Poller {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

struct Request {
    index: wgpu::SubmissionIndex,
    signal: Signal,
}

impl Poller {
    pub(crate) fn new(device: wgpu::Device, faults: Arc<Faults>) -> std::io::Result<Self> {
        let (requests, receiver) = mpsc::channel::<Request>();
        let thread = std::thread::Builder::new()
            .name("anylora-poll".to_owned())
            .spawn(move || {
                while let Ok(request) = receiver.recv() {
                    serve(&device, &faults, &request);
                }
            })?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Sees to it that `signal` fires once the submission is done, or fails with the device.
    pub(crate) fn watch(&self, index: wgpu::SubmissionIndex, signal: Signal) {
        let request = Request { index, signal };
        if let Some(Err(mpsc::SendError(request))) =
            self.requests.as_ref().map(|requests| requests.send(request))
        {
            request.signal.fire(false);
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.requests = None;
        let Some(thread) = self.thread.take() else { return };
        // A callback may drop the last handle on the thread itself, which can't wait for its own end.
        if thread.thread().id() != std::thread::current().id() {
            thread.join().ok();
        }
    }
}

fn serve(device: &wgpu::Device, faults: &Faults, request: &Request) {
    if wait(device, faults, request.index.clone()).is_err() {
        request.signal.fire(false);
    }
    // Another thread's submission may have picked the callback up and be about to run it.
    while !request.signal.has_fired() {
        if faults.is_lost() {
            request.signal.fire(false);
        }
        std::thread::sleep(Duration::from_millis(1));
        poll(device, faults, wgpu::PollType::Poll).ok();
    }
}

/// Blocks until the submission is done.
pub(crate) fn wait(
    device: &wgpu::Device,
    faults: &Faults,
    index: wgpu::SubmissionIndex,
) -> Result<(), wgpu::PollError> {
    poll(
        device,
        faults,
        wgpu::PollType::Wait {
            submission_index: Some(index),
            timeout: None,
        },
    )
}

/// wgpu 30 panics in `poll` when it finds the device lost: that is an error here.
fn poll(device: &wgpu::Device, faults: &Faults, how: wgpu::PollType) -> Result<(), wgpu::PollError> {
    match catch_unwind(AssertUnwindSafe(|| device.poll(how))) {
        Ok(result) => result.map(|_| ()),
        Err(_) => {
            faults.lose("the driver gave up while it was waited for");
            Err(wgpu::PollError::Timeout)
        }
    }
}
