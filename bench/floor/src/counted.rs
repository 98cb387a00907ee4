//! Words to callgrind, which counts instructions. Outside of it they do nothing.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::arch::asm;

const CALLGRIND: usize = (b'C' as usize) << 24 | (b'T' as usize) << 16;
const ZERO_STATS: usize = CALLGRIND + 1;
const DUMP_STATS_AT: usize = CALLGRIND + 3;
const START: usize = CALLGRIND + 4;
const STOP: usize = CALLGRIND + 5;

/// Valgrind's client request: a sequence that does nothing on a processor, and that valgrind knows.
fn request(what: usize, argument: *const u8) {
    let words = [what, argument.addr(), 0, 0, 0, 0];
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the rotations add up to two whole turns, and the exchange is of a register with itself; valgrind only
    // reads the words, and the text that they point to.
    unsafe {
        asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") words.as_ptr(), inout("rdx") 0usize => _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above, with a move of a register to itself.
    unsafe {
        asm!(
            "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") words.as_ptr(), inout("x3") 0usize => _,
        );
    }
    std::hint::black_box(&words);
}

/// `counting(Boolean) -> ok`: counts from now on, or no longer.
#[rustler::nif]
fn counting(on: bool) -> rustler::Atom {
    request(if on { START } else { STOP }, std::ptr::null());
    rustler::types::atom::ok()
}

/// `count_anew() -> ok`: nothing was counted so far.
#[rustler::nif]
fn count_anew() -> rustler::Atom {
    request(ZERO_STATS, std::ptr::null());
    rustler::types::atom::ok()
}

/// `counted(Name) -> ok`: writes down what was counted, under this name.
#[rustler::nif]
fn counted(name: String) -> rustler::Atom {
    let name: Vec<u8> = name.bytes().chain([0]).collect();
    request(DUMP_STATS_AT, name.as_ptr());
    rustler::types::atom::ok()
}
