//! On threads of their own, since what is confined stays so.

use super::calls::{ABSENT, Is, REFUSED};
use super::confine_thread;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::mpsc::channel;

fn on_a_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(body).join().expect("the thread ended")
}

fn confined<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    on_a_thread(|| {
        confine_thread().expect("seccomp is there");
        body()
    })
}

/// The error of a call; 0 when it succeeds.
fn error_of(number: i64, arguments: [u64; 6]) -> i32 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: calls that the filter refuses, with arguments that would do no harm.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match result {
        -1 => std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        _ => 0,
    }
}

/// Arguments that a rule matches.
fn arguments_for(rule: &[(u8, Is)]) -> [u64; 6] {
    let mut arguments = [u64::MAX; 6];
    for (position, is) in rule {
        arguments[usize::from(*position)] = match is {
            Is::Value(value) | Is::Set(value) => u64::from(*value),
            Is::Not(value) => u64::from(!value),
            Is::Clear(_) => 0,
            Is::Given => u64::MAX,
        };
    }
    arguments
}

#[test]
fn what_is_refused_fails_with_eperm() {
    confined(|| {
        for (number, rules) in REFUSED {
            if rules.is_empty() {
                assert_eq!(error_of(*number, [u64::MAX; 6]), libc::EPERM, "{number}");
            }
            for rule in *rules {
                let error = error_of(*number, arguments_for(rule));
                assert_eq!(error, libc::EPERM, "{number}");
            }
        }
    });
}

#[test]
fn what_is_absent_fails_with_enosys() {
    confined(|| {
        for number in ABSENT {
            assert_eq!(error_of(*number, [u64::MAX; 6]), libc::ENOSYS, "{number}");
        }
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_with_short_pointers_are_refused() {
    let number = 0x4000_0000 | libc::SYS_getpid;
    assert_eq!(confined(move || error_of(number, [0; 6])), libc::EPERM);
}

#[test]
fn rules_look_at_their_arguments() {
    confined(|| {
        let limit = libc::RLIMIT_NOFILE as u64;
        assert_eq!(error_of(libc::SYS_prlimit64, [0, limit, 0, 0, 0, 0]), 0);
        let signal = libc::SIGTERM as u64;
        let question = [signal, 0, 0, 8, 0, 0];
        assert_eq!(error_of(libc::SYS_rt_sigaction, question), 0);
        let command = libc::F_GETFL as u64;
        assert_eq!(error_of(libc::SYS_fcntl, [0, command, 0, 0, 0, 0]), 0);
        let option = libc::PR_GET_NO_NEW_PRIVS as u64;
        assert_eq!(error_of(libc::SYS_prctl, [option, 0, 0, 0, 0, 0]), 0);
        let mask = u64::MAX.to_ne_bytes();
        let affinity = [0, 8, mask.as_ptr() as u64, 0, 0, 0];
        assert_eq!(error_of(libc::SYS_sched_setaffinity, affinity), 0);
    });
}

#[test]
fn threads_inherit_it() {
    let error = confined(|| on_a_thread(|| error_of(libc::SYS_kill, [u64::MAX; 6])));
    assert_eq!(error, libc::EPERM);
}

#[test]
fn other_threads_are_untouched() {
    let (confine, is_confined) = channel();
    let (end, ended) = channel::<()>();
    let thread = std::thread::spawn(move || {
        confine_thread().expect("seccomp is there");
        confine.send(()).expect("the test waits");
        ended.recv().ok();
    });
    is_confined.recv().expect("the thread lives");
    assert!(Command::new("true").status().expect("it starts").success());
    end.send(()).expect("the thread waits");
    thread.join().expect("the thread ended");
    assert!(Command::new("true").status().expect("it starts").success());
}

#[test]
fn programs_do_not_start() {
    let error = confined(|| Command::new("true").status().expect_err("it starts"));
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
}

#[test]
fn ordinary_work_goes_on() {
    confined(|| {
        let file = std::fs::File::open("/proc/self/status").expect("it opens");
        assert!(file.metadata().is_ok());
        let (mut left, mut right) = std::os::unix::net::UnixStream::pair().expect("sockets");
        left.write_all(b"x").expect("it is written");
        right.read_exact(&mut [0]).expect("it is read");
        std::thread::sleep(std::time::Duration::from_millis(1));
    });
}

#[test]
fn once_is_enough() {
    assert_eq!(confined(confine_thread), Ok(()));
}
