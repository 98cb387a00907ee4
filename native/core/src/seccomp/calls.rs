//! What a confined thread may not ask the kernel for.

use libc::*;

/// What an argument has to be for a call to be refused. The kernel takes all that are compared here, but pointers, as 32
/// bits.
pub(super) enum Is {
    Value(u32),
    Not(u32),
    /// All of these bits are set.
    Set(u32),
    /// None of these bits is.
    Clear(u32),
    /// A pointer that is not null.
    Given,
}

/// Arguments by their positions; a call is refused when all of them match.
pub(super) type Rule = &'static [(u8, Is)];

/// A call, and when it is refused: always where there are no rules, else when one of them matches.
pub(super) type Refused = (c_long, &'static [Rule]);

const ALWAYS: &[Rule] = &[];

/// These are said not to exist: libraries then do without them. `clone3` has its flags in memory, where no filter sees
/// them.
pub(super) const ABSENT: &[c_long] = &[SYS_clone3, SYS_close_range];

/// Newer, or not declared everywhere; numbers from 424 on are the same on all architectures.
const LSM_SET_SELF_ATTR: c_long = 460;
const OPEN_TREE_ATTR: c_long = 467;
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: c_long = 320;
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: c_long = 294;

const FASYNC: u32 = O_ASYNC.cast_unsigned();
const F_SETSIG: u32 = 10;
const F_SETOWN_EX: u32 = 15;
const FIOASYNC: u32 = 0x5452;
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const PR_SET_VMA: u32 = 0x5356_4d41;

/// These fail with `EPERM`.
pub(super) const REFUSED: &[Refused] = &[
    // Other programs and processes; the end of this one.
    (SYS_execve, ALWAYS),
    (SYS_execveat, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (SYS_fork, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (SYS_vfork, ALWAYS),
    (
        SYS_clone,
        &[
            &[(0, Is::Clear(CLONE_THREAD.cast_unsigned()))],
            // Threads in namespaces of their own.
            &[(0, Is::Set(CLONE_NEWNS.cast_unsigned()))],
            &[(0, Is::Set(CLONE_NEWUTS.cast_unsigned()))],
            &[(0, Is::Set(CLONE_NEWIPC.cast_unsigned()))],
            &[(0, Is::Set(CLONE_NEWNET.cast_unsigned()))],
            &[(0, Is::Set(CLONE_NEWCGROUP.cast_unsigned()))],
        ],
    ),
    (SYS_wait4, ALWAYS),
    (SYS_waitid, ALWAYS),
    (SYS_exit_group, ALWAYS),
    // Signals, and what makes the kernel send them.
    (SYS_kill, ALWAYS),
    (SYS_tkill, ALWAYS),
    (SYS_tgkill, ALWAYS),
    (SYS_rt_sigqueueinfo, ALWAYS),
    (SYS_rt_tgsigqueueinfo, ALWAYS),
    (SYS_pidfd_send_signal, ALWAYS),
    (SYS_rt_sigaction, &[&[(1, Is::Given)]]),
    #[cfg(target_arch = "x86_64")]
    (SYS_alarm, ALWAYS),
    (SYS_setitimer, ALWAYS),
    (SYS_timer_create, ALWAYS),
    (SYS_mq_notify, ALWAYS),
    (
        SYS_fcntl,
        &[
            &[(1, Is::Value(F_SETOWN.cast_unsigned()))],
            &[(1, Is::Value(F_SETOWN_EX))],
            &[(1, Is::Value(F_SETSIG))],
            &[(1, Is::Value(F_SETLEASE.cast_unsigned()))],
            &[(1, Is::Value(F_NOTIFY.cast_unsigned()))],
            &[
                (1, Is::Value(F_SETFL.cast_unsigned())),
                (2, Is::Set(FASYNC)),
            ],
        ],
    ),
    (
        SYS_ioctl,
        &[
            &[(1, Is::Value(FIOASYNC))],
            &[(1, Is::Value(FIOSETOWN))],
            &[(1, Is::Value(SIOCSPGRP))],
            // Terminals: input in somebody's name, and who gets their signals.
            &[(1, Is::Value(TIOCSTI as u32))],
            &[(1, Is::Value(TIOCSCTTY as u32))],
            &[(1, Is::Value(TIOCNOTTY as u32))],
            &[(1, Is::Value(TIOCSPGRP as u32))],
        ],
    ),
    // The inside of processes.
    (SYS_ptrace, ALWAYS),
    (SYS_process_vm_readv, ALWAYS),
    (SYS_process_vm_writev, ALWAYS),
    (SYS_process_madvise, ALWAYS),
    (SYS_process_mrelease, ALWAYS),
    (SYS_pidfd_getfd, ALWAYS),
    (SYS_kcmp, ALWAYS),
    (SYS_migrate_pages, ALWAYS),
    (SYS_move_pages, ALWAYS),
    (SYS_mlockall, ALWAYS),
    (SYS_munlockall, ALWAYS),
    (SYS_userfaultfd, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (SYS_modify_ldt, ALWAYS),
    (SYS_personality, ALWAYS),
    // Who and where the process is.
    (SYS_setuid, ALWAYS),
    (SYS_setgid, ALWAYS),
    (SYS_setreuid, ALWAYS),
    (SYS_setregid, ALWAYS),
    (SYS_setresuid, ALWAYS),
    (SYS_setresgid, ALWAYS),
    (SYS_setfsuid, ALWAYS),
    (SYS_setfsgid, ALWAYS),
    (SYS_setgroups, ALWAYS),
    (SYS_capset, ALWAYS),
    (SYS_setsid, ALWAYS),
    (SYS_setpgid, ALWAYS),
    (SYS_umask, ALWAYS),
    (SYS_chdir, ALWAYS),
    (SYS_fchdir, ALWAYS),
    (SYS_chroot, ALWAYS),
    (SYS_pivot_root, ALWAYS),
    (SYS_unshare, ALWAYS),
    (SYS_setns, ALWAYS),
    // What it may use, and how urgent it is.
    (SYS_setrlimit, ALWAYS),
    (SYS_prlimit64, &[&[(2, Is::Given)]]),
    (SYS_setpriority, ALWAYS),
    (SYS_ioprio_set, ALWAYS),
    (SYS_sched_setparam, ALWAYS),
    (SYS_sched_setscheduler, ALWAYS),
    (SYS_sched_setattr, ALWAYS),
    (SYS_sched_setaffinity, &[&[(0, Is::Not(0))]]),
    // Names of threads, names of memory and questions; whatever else there is changes what the process is.
    (
        SYS_prctl,
        &[&[
            (0, Is::Not(PR_SET_NAME.cast_unsigned())),
            (0, Is::Not(PR_GET_NAME.cast_unsigned())),
            (0, Is::Not(PR_SET_VMA)),
            (0, Is::Not(PR_SET_TIMERSLACK.cast_unsigned())),
            (0, Is::Not(PR_GET_TIMERSLACK.cast_unsigned())),
            (0, Is::Not(PR_SET_NO_NEW_PRIVS.cast_unsigned())),
            (0, Is::Not(PR_GET_NO_NEW_PRIVS.cast_unsigned())),
            (0, Is::Not(PR_GET_SECCOMP.cast_unsigned())),
            (0, Is::Not(PR_GET_DUMPABLE.cast_unsigned())),
            (0, Is::Not(PR_CAPBSET_READ.cast_unsigned())),
        ]],
    ),
    // Further filters could be put on all threads of the node at once.
    (SYS_seccomp, ALWAYS),
    (SYS_landlock_restrict_self, ALWAYS),
    (LSM_SET_SELF_ATTR, ALWAYS),
    // Files by other means than their paths, and where they are mounted.
    (SYS_name_to_handle_at, ALWAYS),
    (SYS_open_by_handle_at, ALWAYS),
    (SYS_mount, ALWAYS),
    (SYS_umount2, ALWAYS),
    (SYS_move_mount, ALWAYS),
    (SYS_mount_setattr, ALWAYS),
    (SYS_open_tree, ALWAYS),
    (OPEN_TREE_ATTR, ALWAYS),
    (SYS_fsopen, ALWAYS),
    (SYS_fsconfig, ALWAYS),
    (SYS_fsmount, ALWAYS),
    (SYS_fspick, ALWAYS),
    (SYS_fanotify_init, ALWAYS),
    (SYS_quotactl, ALWAYS),
    (SYS_quotactl_fd, ALWAYS),
    // The kernel: a ring takes calls past every filter.
    (SYS_io_uring_setup, ALWAYS),
    (SYS_io_uring_enter, ALWAYS),
    (SYS_io_uring_register, ALWAYS),
    (SYS_bpf, ALWAYS),
    (SYS_perf_event_open, ALWAYS),
    (SYS_init_module, ALWAYS),
    (SYS_finit_module, ALWAYS),
    (SYS_delete_module, ALWAYS),
    (SYS_kexec_load, ALWAYS),
    (KEXEC_FILE_LOAD, ALWAYS),
    (SYS_reboot, ALWAYS),
    (SYS_swapon, ALWAYS),
    (SYS_swapoff, ALWAYS),
    (SYS_acct, ALWAYS),
    (SYS_syslog, ALWAYS),
    (SYS_vhangup, ALWAYS),
    (SYS_add_key, ALWAYS),
    (SYS_request_key, ALWAYS),
    (SYS_keyctl, ALWAYS),
    (SYS_sethostname, ALWAYS),
    (SYS_setdomainname, ALWAYS),
    (SYS_settimeofday, ALWAYS),
    (SYS_clock_settime, ALWAYS),
    (SYS_clock_adjtime, ALWAYS),
    (SYS_adjtimex, ALWAYS),
    (SYS_lookup_dcookie, ALWAYS),
    (SYS_nfsservctl, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (SYS_iopl, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (SYS_ioperm, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (SYS_uselib, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (SYS_sysfs, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (SYS__sysctl, ALWAYS),
];
