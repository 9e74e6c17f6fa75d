//! Threads for short jobs that follow each other closely, as the products of one token do.
//!
//! A product of one row takes some ten microseconds, about as long as it takes to wake a thread. So these threads look
//! for the next job for a while before they go to sleep, and a job does not wait for those that are not there yet:
//! whoever comes takes the next part until none is left.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, Thread};

/// How often a thread looks for the next job before it sleeps: some 50 us.
const LOOKS: usize = 2000;

/// How often the caller looks whether the others are done before it lets another thread run.
const PATIENCE: usize = 1000;

/// Runs `each(start, part)` over parts of `out` of `len` elements, on as many threads as rayon has.
pub(crate) fn parts<T: Send>(out: &mut [T], len: usize, each: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() <= len {
        return each(0, out);
    }
    let (all, first) = (out.len(), Shared(out.as_mut_ptr()));
    tasks(all.div_ceil(len), |task| {
        let first = &first;
        let start = task * len;
        // SAFETY: each task is done once, and parts don't overlap; `out` is borrowed until all are done.
        let part = unsafe { std::slice::from_raw_parts_mut(first.0.add(start), len.min(all - start)) };
        each(start, part);
    });
}

/// Runs `each(task, part, other)` over parts of two buffers, each of its own length.
pub(crate) fn parts2<T: Send>(
    (left, left_len): (&mut [T], usize),
    (right, right_len): (&mut [T], usize),
    each: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    let all = [left.len(), right.len()];
    let first = [Shared(left.as_mut_ptr()), Shared(right.as_mut_ptr())];
    tasks(
        all[0].div_ceil(left_len).min(all[1].div_ceil(right_len)),
        |task| {
            let [left, right] = &first;
            let (left_start, right_start) = (task * left_len, task * right_len);
            // SAFETY: as in `parts`, of both buffers.
            let (left, right) = unsafe {
                (
                    std::slice::from_raw_parts_mut(left.0.add(left_start), left_len.min(all[0] - left_start)),
                    std::slice::from_raw_parts_mut(
                        right.0.add(right_start),
                        right_len.min(all[1] - right_start),
                    ),
                )
            };
            each(task, left, right);
        },
    );
}

/// Runs `each(task)` for the tasks from 0 to `count`, each once, on as many threads as rayon has.
pub(crate) fn tasks(count: usize, each: impl Fn(usize) + Sync) {
    static TEAM: OnceLock<Team> = OnceLock::new();
    if count <= 1 {
        return (0..count).for_each(each);
    }
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= count {
                return;
            }
            each(task);
        }
    };
    TEAM.get_or_init(|| Team::new(rayon::current_num_threads() - 1))
        .run(&work);
}

/// A pointer to elements of which each thread gets others.
struct Shared<T>(*mut T);

// SAFETY: threads make disjoint slices of what it points to, and elements may go to other threads.
unsafe impl<T: Send> Sync for Shared<T> {}

/// In [`Board::state`]: a job may be joined.
const OPEN: u64 = 1;
/// One thread that has joined; below [`JOB`].
const JOINED: u64 = 2;
/// Counts jobs.
const JOB: u64 = 1 << 32;

type Work<'a> = dyn Fn() + Sync + 'a;

/// What the threads of a team look at.
struct Board {
    /// [`OPEN`], the number of threads that have joined, and the job's number.
    state: AtomicU64,
    /// Written while no job is open and nobody has joined, read by those who have joined.
    work: UnsafeCell<Option<*const Work<'static>>>,
    failed: AtomicBool,
}

// SAFETY: `state` orders the accesses to `work`, and what it points to is Sync.
unsafe impl Sync for Board {}
// SAFETY: as above.
unsafe impl Send for Board {}

struct Team {
    board: Arc<Board>,
    members: Vec<Member>,
    /// Held by the caller whose job it is.
    turn: Mutex<()>,
}

struct Member {
    thread: Thread,
    sleeps: Arc<AtomicBool>,
}

impl Team {
    /// A team of the caller and up to `others` threads, which live as long as the program.
    fn new(others: usize) -> Self {
        let board = Arc::new(Board {
            state: AtomicU64::new(0),
            work: UnsafeCell::new(None),
            failed: AtomicBool::new(false),
        });
        let member = |_| {
            let (board, sleeps) = (Arc::clone(&board), Arc::new(AtomicBool::new(false)));
            let flag = Arc::clone(&sleeps);
            let builder = thread::Builder::new().name("anylora-cpu".to_owned());
            // Where there are no more threads, those that are there do the work.
            let handle = builder.spawn(move || board.serve(&flag)).ok()?;
            Some(Member {
                thread: handle.thread().clone(),
                sleeps,
            })
        };
        Self {
            members: (0..others).map_while(member).collect(),
            board,
            turn: Mutex::new(()),
        }
    }

    /// Calls `work` here, and at the same time on those threads of the team that come before it returns; ends when all
    /// have returned. Another caller's job is not waited for: then it is called here only.
    fn run(&self, work: &Work<'_>) {
        let Ok(_turn) = self.turn.try_lock() else {
            return work();
        };
        // SAFETY: only the lifetime is forgotten: `Join` does not return before the last thread has left.
        let work_of_all = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        // SAFETY: no job is open and nobody has joined: the last `Join` saw to it.
        unsafe { *self.board.work.get() = Some(std::ptr::from_ref(work_of_all)) };
        let last = self.board.state.load(Ordering::Relaxed);
        self.board
            .state
            .store((last & !(JOB - 1)).wrapping_add(JOB) | OPEN, Ordering::SeqCst);
        for member in &self.members {
            if member.sleeps.swap(false, Ordering::SeqCst) {
                member.thread.unpark();
            }
        }
        let join = Join(&self.board);
        work();
        drop(join);
        assert!(
            !self.board.failed.swap(false, Ordering::Relaxed),
            "a thread of the CPU engine panicked"
        );
    }
}

/// Ends a job, also where the caller's part of it panics.
struct Join<'a>(&'a Board);

impl Drop for Join<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.fetch_and(!OPEN, Ordering::AcqRel) & !OPEN;
        let mut looks = 0;
        while state & (JOB - 1) != 0 {
            looks += 1;
            if looks < PATIENCE {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
            state = self.0.state.load(Ordering::Acquire);
        }
    }
}

impl Board {
    /// Joins one job after another.
    fn serve(&self, sleeps: &AtomicBool) {
        let mut last = 0;
        let mut looks = 0;
        loop {
            let state = self.state.load(Ordering::SeqCst);
            if state & OPEN == 0 || state / JOB == last {
                looks += 1;
                if looks < LOOKS {
                    std::hint::spin_loop();
                } else if sleeps.swap(true, Ordering::SeqCst) {
                    // The caller clears the flag after it has opened a job, so that none is slept through.
                    thread::park();
                    looks = 0;
                }
                continue;
            }
            looks = 0;
            let joined = state + JOINED;
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            if self
                .state
                .compare_exchange(state, joined, order.0, order.1)
                .is_err()
            {
                continue;
            }
            sleeps.store(false, Ordering::SeqCst);
            last = state / JOB;
            // SAFETY: the job was open when this thread joined it, and the caller waits until it has left.
            let work = unsafe { (*self.work.get()).map(|work| &*work) };
            if let Some(work) = work
                && catch_unwind(AssertUnwindSafe(work)).is_err()
            {
                self.failed.store(true, Ordering::Relaxed);
            }
            self.state.fetch_sub(JOINED, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once_whoever_calls() {
        let count = |size: usize, len: usize| {
            let mut out = vec![0; size];
            for round in 1..=200 {
                parts(&mut out, len, |start, part| {
                    for (i, out) in part.iter_mut().enumerate() {
                        *out += start + i;
                    }
                });
                assert!(out.iter().enumerate().all(|(i, &out)| out == i * round));
            }
        };
        thread::scope(|scope| {
            for size in [0, 1, 5, 64, 1000] {
                scope.spawn(move || count(size, 3));
            }
        });
    }

    /// More threads than the machine has, so that some come late.
    #[test]
    fn jobs_end_when_all_have_left_and_panics_reach_the_caller() {
        let team = Team::new(7);
        for _ in 0..500 {
            let (calls, live) = (AtomicUsize::new(0), AtomicUsize::new(0));
            team.run(&|| {
                live.fetch_add(1, Ordering::SeqCst);
                calls.fetch_add(1, Ordering::SeqCst);
                live.fetch_sub(1, Ordering::SeqCst);
            });
            assert!((1..=8).contains(&calls.load(Ordering::SeqCst)));
            assert_eq!(live.load(Ordering::SeqCst), 0);
        }
        let here = thread::current().id();
        let others = AtomicUsize::new(0);
        let failing = || {
            team.run(&|| {
                if thread::current().id() == here {
                    while others.load(Ordering::SeqCst) == 0 {
                        thread::yield_now();
                    }
                } else {
                    others.fetch_add(1, Ordering::SeqCst);
                    panic!("on purpose");
                }
            });
        };
        assert!(catch_unwind(AssertUnwindSafe(failing)).is_err());
        team.run(&|| {});
    }
}
