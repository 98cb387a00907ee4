//! The filter's program, and putting it on a thread.

use super::Unavailable;
use super::calls::{ABSENT, Is, REFUSED, Rule};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};
use std::cell::Cell;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: (TargetArch, u32) = (TargetArch::x86_64, 0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: (TargetArch, u32) = (TargetArch::aarch64, 0xc000_00b7);

/// Numbers from here on are the same calls once more, for programs with short pointers, on x86_64.
const SHORT_POINTERS: u32 = 0x4000_0000;

thread_local! {
    static CONFINED: Cell<bool> = const { Cell::new(false) };
}

/// Confines the calling thread for the rest of its life, once.
pub fn confine_thread() -> Result<(), Unavailable> {
    if CONFINED.get() {
        return Ok(());
    }
    static PROGRAM: OnceLock<Result<BpfProgram, String>> = OnceLock::new();
    let program = PROGRAM
        .get_or_init(|| program().map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| format!("the seccomp filter cannot be made: {error}"))?;
    apply_filter(program)
        .map_err(|error| format!("the kernel takes no seccomp filter: {error}"))?;
    CONFINED.set(true);
    Ok(())
}

/// Whether the calling thread has confined itself.
pub fn is_confined() -> bool {
    CONFINED.get()
}

/// What the crate compiles ends the process at calls in the manner of another architecture, and knows one error only; both
/// are seen to before it comes to that.
fn program() -> Result<BpfProgram, BackendError> {
    let mut program = vec![
        load(4),
        jump(libc::BPF_JEQ, ARCHITECTURE.1, 1, 0),
        fail_with(libc::EPERM),
        load(0),
        jump(libc::BPF_JGE, SHORT_POINTERS, 0, 1),
        fail_with(libc::EPERM),
    ];
    for number in ABSENT {
        // Numbers are small.
        program.push(jump(libc::BPF_JEQ, *number as u32, 0, 1));
        program.push(fail_with(libc::ENOSYS));
    }
    let rules = REFUSED
        .iter()
        .map(|(number, rules)| {
            let rules: Result<Vec<_>, _> = rules.iter().map(conditions).collect();
            Ok((*number, rules?))
        })
        .collect::<Result<_, BackendError>>()?;
    let refused: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        ARCHITECTURE.0,
    )?
    .try_into()?;
    program.extend(refused);
    Ok(program)
}

fn conditions(rule: &Rule) -> Result<SeccompRule, BackendError> {
    let conditions = rule.iter().map(|(argument, is)| {
        use SeccompCmpArgLen::{Dword, Qword};
        let (length, operator, value) = match is {
            Is::Value(value) => (Dword, SeccompCmpOp::Eq, *value),
            Is::Not(value) => (Dword, SeccompCmpOp::Ne, *value),
            Is::Set(bits) => (Dword, SeccompCmpOp::MaskedEq((*bits).into()), *bits),
            Is::Clear(bits) => (Dword, SeccompCmpOp::MaskedEq((*bits).into()), 0),
            Is::Given => (Qword, SeccompCmpOp::Ne, 0),
        };
        SeccompCondition::new(*argument, length, operator, value.into())
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// Loads a word of what is known of the call: its number at 0, the architecture at 4.
fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

/// Compares the loaded word, and leaves out so many instructions.
fn jump(comparison: u32, with: u32, if_true: u8, if_false: u8) -> sock_filter {
    instruction(
        libc::BPF_JMP | comparison | libc::BPF_K,
        with,
        if_true,
        if_false,
    )
}

fn fail_with(error: i32) -> sock_filter {
    instruction(
        libc::BPF_RET | libc::BPF_K,
        libc::SECCOMP_RET_ERRNO | error.cast_unsigned(),
        0,
        0,
    )
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    // Codes are small.
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}
