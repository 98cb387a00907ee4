//! Model-checks the request protocol and the parking of the mailbox: all interleavings of small
//! scenarios. Run with `RUSTFLAGS="--cfg loom" cargo test --release -p py_core --test loom_protocol`.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use py_core::mailbox::{Mailbox, Queue, Take};
use py_core::protocol::{Cancel, RequestState};
use std::collections::VecDeque;

/// Explores all interleavings with at most three preemptions, which is where such bugs are found.
fn model(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(scenario);
}

/// The queue of the models. What is visible of it goes through loom's atomics; the items lie behind a
/// lock that loom does not see, since its `park` forgets a wake-up that meets a thread at a lock.
struct ModelQueue<T> {
    items: std::sync::Mutex<VecDeque<T>>,
    pushed: AtomicUsize,
    popped: AtomicUsize,
}

impl<T> Default for ModelQueue<T> {
    fn default() -> Self {
        Self {
            items: std::sync::Mutex::default(),
            pushed: AtomicUsize::new(0),
            popped: AtomicUsize::new(0),
        }
    }
}

impl<T> Queue<T> for ModelQueue<T> {
    fn push(&self, item: T) {
        self.items.lock().unwrap().push_back(item);
        self.pushed.fetch_add(1, Ordering::Release);
    }
    fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let item = self.items.lock().unwrap().pop_front();
        self.popped
            .fetch_add(usize::from(item.is_some()), Ordering::Release);
        item
    }
    fn is_empty(&self) -> bool {
        self.pushed.load(Ordering::Acquire) == self.popped.load(Ordering::Acquire)
    }
}

/// A request with the number of answers that were sent for it.
struct Request {
    state: RequestState,
    answers: AtomicUsize,
}

impl Request {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: RequestState::new(),
            answers: AtomicUsize::new(0),
        })
    }
    fn answer(&self) {
        self.answers.fetch_add(1, Ordering::SeqCst);
    }
    fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }
}

type Requests = Mailbox<Arc<Request>, ModelQueue<Arc<Request>>>;

/// Serves until the mailbox is closed, then answers what is left.
fn serve(mailbox: &Requests) {
    mailbox.consume_here();
    loop {
        match mailbox.take() {
            Take::Item(request) => {
                if mailbox.is_closed() {
                    if request.state.answer_unstarted() {
                        request.answer();
                    }
                } else if request.state.start() && request.state.finish() {
                    request.answer();
                }
            }
            Take::Closed => return,
            Take::Empty => mailbox.park(),
        }
    }
}

#[test]
fn no_wake_up_is_lost() {
    model(|| {
        let mailbox: Arc<Requests> = Arc::new(Mailbox::new());
        let consumer = {
            let mailbox = mailbox.clone();
            thread::spawn(move || serve(&mailbox))
        };
        let request = Request::new();
        assert!(mailbox.push(request.clone()));
        mailbox.close();
        consumer.join().unwrap();
        assert_eq!(request.answers(), 1);
    });
}

#[test]
fn no_wake_up_is_lost_by_who_waits_for_something_else_as_well() {
    model(|| {
        let mailbox: Arc<Requests> = Arc::new(Mailbox::new());
        let other = Arc::new(AtomicBool::new(false));
        let waker = {
            let (mailbox, other) = (mailbox.clone(), other.clone());
            thread::spawn(move || {
                other.store(true, Ordering::SeqCst);
                mailbox.wake();
            })
        };
        mailbox.consume_here();
        while !other.load(Ordering::SeqCst) {
            mailbox.park_unless(None, || other.load(Ordering::SeqCst));
        }
        waker.join().unwrap();
    });
}

#[test]
fn submissions_that_meet_a_sleeper_wake_it_once() {
    model(|| {
        let mailbox: Arc<Requests> = Arc::new(Mailbox::new());
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = wakes.clone();
        mailbox.wake_elsewhere_by(|| {
            Box::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            })
        });
        let producers = [(); 2].map(|()| {
            let mailbox = mailbox.clone();
            thread::spawn(move || assert!(mailbox.push(Request::new())))
        });
        // Where it does not sleep, somebody may still see it about to.
        let sleeps = mailbox.sleep_elsewhere(|begins| {
            let sleeps = !begins();
            for producer in producers {
                producer.join().unwrap();
            }
            sleeps
        });
        let wakes = wakes.load(Ordering::SeqCst);
        assert!(wakes == 1 || wakes == 0 && !sleeps);
        assert!(matches!(mailbox.take(), Take::Item(_)));
        assert!(matches!(mailbox.take(), Take::Item(_)));
    });
}

#[test]
fn a_submit_against_a_closing_mailbox_is_answered_once() {
    model(|| {
        let mailbox: Arc<Requests> = Arc::new(Mailbox::new());
        let consumer = {
            let mailbox = mailbox.clone();
            thread::spawn(move || serve(&mailbox))
        };
        let submitter = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                let request = Request::new();
                let refused = !mailbox.push(request.clone()) && request.state.retract();
                (request, refused)
            })
        };
        mailbox.close();
        let (request, refused) = submitter.join().unwrap();
        consumer.join().unwrap();
        // Either the submitter knows that it was refused, or there is exactly one answer.
        assert_eq!(request.answers(), usize::from(!refused));
    });
}

#[test]
fn a_cancel_and_an_answer_exclude_each_other() {
    model(|| {
        let request = Request::new();
        let consumer = {
            let request = request.clone();
            thread::spawn(move || {
                if request.state.start() && request.state.finish() {
                    request.answer();
                }
            })
        };
        let met = request.state.cancel();
        consumer.join().unwrap();
        match met {
            Cancel::Unstarted | Cancel::Running => assert_eq!(request.answers(), 0),
            Cancel::Done => assert_eq!(request.answers(), 1),
            Cancel::Calling | Cancel::Already => panic!("not in this model"),
        }
    });
}

#[test]
fn a_cancel_during_a_callback_takes_its_message_first() {
    model(|| {
        let request = Request::new();
        let messages = Arc::new(AtomicUsize::new(0));
        let consumer = {
            let (request, messages) = (request.clone(), messages.clone());
            thread::spawn(move || {
                if !request.state.start() {
                    return;
                }
                if request.state.call_out() {
                    messages.fetch_add(1, Ordering::SeqCst);
                    // Nobody hands in an answer in this model; the callback is cancelled or not.
                } else {
                    assert!(!request.state.finish());
                }
            })
        };
        let met = request.state.cancel();
        let cancelled = match met {
            Cancel::Calling => {
                consumer.join().unwrap();
                assert_eq!(messages.load(Ordering::SeqCst), 1);
                request.state.cancel_callback()
            }
            Cancel::Unstarted | Cancel::Running => {
                consumer.join().unwrap();
                assert_eq!(messages.load(Ordering::SeqCst), 0);
                true
            }
            Cancel::Done | Cancel::Already => panic!("not in this model"),
        };
        assert!(cancelled);
        assert!(!request.state.resume());
    });
}

#[test]
fn consumer_reaper_and_caller_send_one_answer_between_them() {
    model(|| {
        let request = Request::new();
        assert!(request.state.start());
        let consumer = {
            let request = request.clone();
            thread::spawn(move || {
                if request.state.finish() {
                    request.answer();
                }
            })
        };
        let reaper = {
            let request = request.clone();
            thread::spawn(move || {
                if request.state.abandon() {
                    request.answer();
                }
            })
        };
        let met = request.state.cancel();
        consumer.join().unwrap();
        reaper.join().unwrap();
        assert_eq!(request.answers(), usize::from(met == Cancel::Done));
    });
}

#[test]
fn a_queue_that_moves_to_a_replacement_loses_nothing() {
    model(|| {
        let stuck: Arc<Requests> = Arc::new(Mailbox::new());
        let fresh: Arc<Requests> = Arc::new(Mailbox::new());
        let request = Request::new();
        let submitter = {
            let (stuck, request) = (stuck.clone(), request.clone());
            thread::spawn(move || !stuck.push(request.clone()) && request.state.retract())
        };
        stuck.close();
        while let Take::Item(moved) = stuck.take() {
            assert!(fresh.push(moved));
        }
        let refused = submitter.join().unwrap();
        while let Take::Item(moved) = fresh.take() {
            if moved.state.start() && moved.state.finish() {
                moved.answer();
            }
        }
        // What came too late for the move is still in the closed mailbox; its submitter knows.
        assert_eq!(request.answers(), usize::from(!refused));
    });
}

/// Answers what is left in a closed mailbox, as the reaper does.
fn drain(mailbox: &Requests) {
    while let Take::Item(request) = mailbox.take() {
        if request.state.answer_unstarted() {
            request.answer();
        }
    }
}

#[test]
fn what_is_put_off_while_the_mailbox_closes_is_answered_once() {
    model(|| {
        let mailbox: Arc<Requests> = Arc::new(Mailbox::new());
        let request = Request::new();
        assert!(mailbox.push(request.clone()));
        let consumer = {
            let mailbox = mailbox.clone();
            thread::spawn(move || match mailbox.take_new() {
                // The reaper is asked to look once more.
                Take::Item(put_off) => !mailbox.defer(put_off),
                Take::Empty | Take::Closed => false,
            })
        };
        mailbox.close();
        drain(&mailbox);
        if consumer.join().unwrap() {
            drain(&mailbox);
        }
        assert_eq!(request.answers(), 1);
    });
}

#[test]
fn what_was_put_off_is_taken_by_one_of_two() {
    model(|| {
        let mailbox: Arc<Requests> = Arc::new(Mailbox::new());
        let (ours, other) = (Request::new(), Request::new());
        assert!(mailbox.defer(other.clone()));
        assert!(mailbox.defer(ours.clone()));
        let consumer = {
            let (mailbox, ours) = (mailbox.clone(), ours.clone());
            thread::spawn(move || {
                let wanted = |request: &Arc<Request>| Arc::ptr_eq(request, &ours);
                if let Some(request) = mailbox.take_deferred(wanted)
                    && request.state.start()
                    && request.state.finish()
                {
                    request.answer();
                }
            })
        };
        mailbox.close();
        drain(&mailbox);
        consumer.join().unwrap();
        assert_eq!((ours.answers(), other.answers()), (1, 1));
        assert_eq!(mailbox.len(), 0);
    });
}

#[test]
fn putting_off_against_taking_the_last_one_hides_nothing() {
    model(|| {
        let mailbox: Arc<Requests> = Arc::new(Mailbox::new());
        let (first, second) = (Request::new(), Request::new());
        assert!(mailbox.defer(first.clone()));
        let consumer = {
            let (mailbox, second) = (mailbox.clone(), second.clone());
            thread::spawn(move || mailbox.defer(second))
        };
        drain(&mailbox);
        assert!(consumer.join().unwrap());
        drain(&mailbox);
        assert_eq!((first.answers(), second.answers()), (1, 1));
    });
}

/// As `Callback::put` and `Callback::give_up`: one of the two sides ends the wait, under a lock of its own, and the
/// request runs again whichever it is.
#[test]
fn an_answer_and_giving_up_end_a_callback_once() {
    model(|| {
        let request = Request::new();
        assert!(request.state.start() && request.state.call_out());
        let caller = {
            let request = request.clone();
            thread::spawn(move || request.state.resume())
        };
        let given_up = request.state.resume();
        assert_ne!(caller.join().unwrap(), given_up);
        assert!(request.state.finish());
    });
}

#[test]
fn the_end_of_a_caller_is_not_missed_between_two_callbacks() {
    model(|| {
        let request = Request::new();
        assert!(request.state.start() && request.state.call_out());
        let consumer = {
            let request = request.clone();
            // Given up, and called again.
            thread::spawn(move || {
                let _resumed = request.state.resume();
                let _called = request.state.call_out();
            })
        };
        while request.state.cancel() == Cancel::Calling && !request.state.cancel_callback() {}
        consumer.join().unwrap();
        assert!(request.state.is_cancelled());
        assert!(!request.state.finish());
    });
}
