//! Memory that is counted for one holder, and the two lines that it meets.
//!
//! Up to the limit nothing happens. Beyond it the holder is *told* (so that its code raises where it is safe to), and a
//! large request is refused at once; told again only when it has grown by another step, or has been below meanwhile.
//! Beyond the limit and its slack everything is refused; each refusal leaves room for a little more, so that what cleans
//! up after it finds some. The counts are exact, the comparisons are not: a request that
//! is made at the same time on another thread may be seen late.

use crate::sync::{AtomicBool, AtomicIsize, Ordering};

/// A request of so many bytes is refused when it would cross the limit: whoever asks for that much copes with a refusal.
pub const LARGE: usize = 64 << 10;

/// A limit that is none.
pub const UNLIMITED: usize = isize::MAX as usize;

/// What a holder may have beyond its limit, until its code has heard of it: an eighth of that, within these bounds.
const LEAST_SLACK: usize = 4 << 20;
const MOST_SLACK: usize = 64 << 20;

/// What a refusal leaves room for. All of them together: as much as the slack.
const CLEANING: usize = 64 << 10;

/// How much more it takes to be told again. Small, so that code which hears of it and goes on takes long to get to where
/// everything is refused: some versions of CPython do not survive every refusal of a small block.
const STEP: usize = 64 << 10;

/// What becomes of memory that was just counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the holder's.
    Granted,
    /// It is the holder's, who is to be told that it has too much.
    Told,
    /// It must be given back, and is not counted.
    Refused,
}

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// The one thread that nearly everything is counted on.
    Main,
    /// Any other.
    Other,
}

/// See the module. On a line of the cache of its own: it changes with every block of memory.
#[derive(Debug)]
#[repr(align(64))]
pub struct Account {
    /// What the main thread has counted: it alone writes here, so that it needs no locked instruction.
    main: AtomicIsize,
    others: AtomicIsize,
    peak: AtomicIsize,
    /// From here on there is something to do: the limit, or the next step beyond it.
    next: AtomicIsize,
    limit: AtomicIsize,
    last: AtomicIsize,
    /// Where that is before anything is refused.
    first_last: AtomicIsize,
    /// `next` is beyond the limit.
    beyond: AtomicBool,
    /// Something was refused, or the holder told, since somebody asked.
    strained: AtomicBool,
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

/// See [`LEAST_SLACK`].
#[must_use]
pub fn slack(limit: usize) -> usize {
    (limit / 8).clamp(LEAST_SLACK, MOST_SLACK)
}

impl Account {
    /// Without a limit.
    #[must_use]
    pub fn new() -> Self {
        Self {
            main: AtomicIsize::new(0),
            others: AtomicIsize::new(0),
            peak: AtomicIsize::new(0),
            next: AtomicIsize::new(isize::MAX),
            limit: AtomicIsize::new(isize::MAX),
            last: AtomicIsize::new(isize::MAX),
            first_last: AtomicIsize::new(isize::MAX),
            beyond: AtomicBool::new(false),
            strained: AtomicBool::new(false),
        }
    }

    /// Begins anew, with nothing. For the main thread.
    pub fn reset(&self) {
        self.main.store(0, Ordering::Relaxed);
        self.others.store(0, Ordering::Relaxed);
        self.restart(UNLIMITED);
    }

    /// A new limit, for what is held now and from now on. Whoever holds more than half of it already gets the other half
    /// beside that. The peak begins anew.
    pub fn restart(&self, limit: usize) {
        let used = self.used();
        self.peak.store(signed(used), Ordering::Relaxed);
        self.strained.store(false, Ordering::Relaxed);
        if limit >= UNLIMITED {
            self.set_lines(isize::MAX, isize::MAX);
            return;
        }
        let lines = limit.max(used.saturating_add(limit / 2));
        self.set_lines(signed(lines), signed(lines.saturating_add(slack(limit))));
    }

    /// Moves the lines so that there is room for a little more than is held now, if there are any.
    pub fn relax(&self) {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == isize::MAX {
            return;
        }
        let limit = limit.cast_unsigned();
        let last = self.used().max(limit).saturating_add(2 * slack(limit));
        self.set_lines(signed(last), signed(last));
    }

    fn set_lines(&self, limit: isize, last: isize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        self.first_last.store(last, Ordering::Relaxed);
        self.beyond.store(false, Ordering::Relaxed);
        self.next.store(limit, Ordering::Relaxed);
    }

    /// The last line moves by so much, back with a negative number.
    pub fn move_last(&self, by: isize) {
        let last = self.last.load(Ordering::Relaxed);
        if last != isize::MAX {
            let last = last.saturating_add(by);
            self.last.store(last, Ordering::Relaxed);
            self.first_last.fetch_add(by, Ordering::Relaxed);
            self.next.fetch_min(last, Ordering::Relaxed);
        }
    }

    /// The slack of its limit; 0 where there is none.
    #[must_use]
    pub fn slack(&self) -> usize {
        match self.limit.load(Ordering::Relaxed) {
            isize::MAX => 0,
            limit => slack(limit.cast_unsigned()),
        }
    }

    #[inline(always)]
    fn total(&self) -> isize {
        self.main.load(Ordering::Relaxed) + self.others.load(Ordering::Relaxed)
    }

    /// Counts, and gives what is held then.
    #[inline(always)]
    fn count(&self, by: Counting, bytes: isize) -> isize {
        match by {
            Counting::Main => {
                let main = self.main.load(Ordering::Relaxed) + bytes;
                self.main.store(main, Ordering::Relaxed);
                main + self.others.load(Ordering::Relaxed)
            }
            Counting::Other => {
                let others = self.others.fetch_add(bytes, Ordering::Relaxed) + bytes;
                others + self.main.load(Ordering::Relaxed)
            }
        }
    }

    /// Bytes that are held. Blocks that another holder gives back may be missing for a while.
    #[must_use]
    pub fn used(&self) -> usize {
        usize::try_from(self.total()).unwrap_or(0)
    }

    /// The most that were held at a time.
    #[must_use]
    pub fn peak(&self) -> usize {
        usize::try_from(self.peak.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Whether more is held than the limit allows.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.total() > self.limit.load(Ordering::Relaxed)
    }

    /// Whether `more` bytes may be asked for. For requests that are [`LARGE`], and those that cannot be taken back.
    #[inline]
    pub fn admits(&self, more: usize, request: usize) -> bool {
        let after = self.total().saturating_add(signed(more));
        if after <= self.limit.load(Ordering::Relaxed) {
            return true;
        }
        let admitted = request < LARGE && after <= self.last.load(Ordering::Relaxed);
        if !admitted {
            self.strained.store(true, Ordering::Relaxed);
            if request < LARGE {
                self.make_room(self.last.load(Ordering::Relaxed));
            }
        }
        admitted
    }

    /// Whether a block may grow by so much. Growth within the slack is told, not refused, up to twice the limit: on CPython
    /// 3.15.0 nodes died where the growth of lists was refused, for a reason that is not known.
    #[inline]
    pub fn admits_growth(&self, more: usize) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let after = self.total().saturating_add(signed(more));
        if after <= limit || (more <= self.slack() && after <= limit.saturating_mul(2)) {
            return true;
        }
        self.strained.store(true, Ordering::Relaxed);
        self.make_room(self.last.load(Ordering::Relaxed));
        false
    }

    /// Counts a block.
    #[inline]
    #[must_use]
    pub fn add(&self, by: Counting, bytes: usize) -> Verdict {
        let bytes = signed(bytes);
        let used = self.count(by, bytes);
        if used > self.next.load(Ordering::Relaxed) {
            return self.beyond_next(by, used, bytes);
        }
        self.note_peak(used);
        Verdict::Granted
    }

    #[inline]
    fn note_peak(&self, used: isize) {
        if used > self.peak.load(Ordering::Relaxed) {
            self.peak.store(used, Ordering::Relaxed);
        }
    }

    #[cold]
    fn beyond_next(&self, by: Counting, used: isize, bytes: isize) -> Verdict {
        self.strained.store(true, Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed);
        if used > last {
            self.count(by, -bytes);
            self.make_room(last);
            return Verdict::Refused;
        }
        self.note_peak(used);
        self.next.store(
            used.saturating_add(signed(STEP)).min(last),
            Ordering::Relaxed,
        );
        self.beyond.store(true, Ordering::Relaxed);
        Verdict::Told
    }

    /// Something was refused at the last line.
    fn make_room(&self, last: isize) {
        let first = self.first_last.load(Ordering::Relaxed);
        if last.saturating_sub(first) < signed(self.slack()) {
            self.last
                .store(last.saturating_add(signed(CLEANING)), Ordering::Relaxed);
        }
        self.beyond.store(true, Ordering::Relaxed);
    }

    /// A block has grown or shrunk; refusing it is too late.
    #[inline]
    #[must_use]
    pub fn change(&self, by: Counting, before: usize, after: usize) -> Verdict {
        if after <= before {
            self.remove(by, before - after);
            return Verdict::Granted;
        }
        match self.add(by, after - before) {
            Verdict::Refused => {
                let used = self.count(by, signed(after - before));
                self.note_peak(used);
                self.beyond.store(true, Ordering::Relaxed);
                Verdict::Told
            }
            verdict => verdict,
        }
    }

    /// A block is given back.
    #[inline]
    pub fn remove(&self, by: Counting, bytes: usize) {
        let used = self.count(by, -signed(bytes));
        if self.beyond.load(Ordering::Relaxed) {
            self.below(used);
        }
    }

    #[cold]
    fn below(&self, used: isize) {
        let limit = self.limit.load(Ordering::Relaxed);
        if used <= limit {
            self.beyond.store(false, Ordering::Relaxed);
            self.next.store(limit, Ordering::Relaxed);
            let last = self.first_last.load(Ordering::Relaxed);
            self.last.store(last, Ordering::Relaxed);
        }
    }

    /// Whether anything was refused, or the holder told.
    #[inline]
    pub fn is_strained(&self) -> bool {
        self.strained.load(Ordering::Relaxed)
    }

    /// The same, since this was asked last.
    #[inline]
    pub fn take_strained(&self) -> bool {
        self.is_strained() && self.strained.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Counting::{Main, Other};
    use super::*;

    const MIB: usize = 1 << 20;

    fn of(limit: usize) -> Account {
        let account = Account::new();
        account.restart(limit);
        account
    }

    #[test]
    fn without_a_limit_everything_is_granted() {
        let account = Account::new();
        assert!(account.admits(usize::MAX, usize::MAX));
        assert_eq!(account.add(Main, 1 << 40), Verdict::Granted);
        assert_eq!(account.used(), 1 << 40);
        assert!(!account.is_over() && !account.take_strained());
    }

    #[test]
    fn up_to_the_limit_everything_is_granted() {
        let account = of(32 * MIB);
        assert!(account.admits(32 * MIB, 32 * MIB));
        assert_eq!(account.add(Main, 32 * MIB), Verdict::Granted);
        assert!(!account.is_over());
    }

    #[test]
    fn a_large_request_beyond_the_limit_is_refused() {
        let account = of(32 * MIB);
        assert!(!account.admits(32 * MIB + 1, 32 * MIB + 1));
        assert!(account.take_strained());
        assert!(!account.take_strained());
        assert_eq!(account.used(), 0);
    }

    #[test]
    fn small_ones_are_granted_up_to_the_last_line_and_told_of_in_steps() {
        let account = of(32 * MIB);
        assert_eq!(account.add(Main, 32 * MIB), Verdict::Granted);
        assert_eq!(account.add(Main, 1000), Verdict::Told);
        assert_eq!(account.add(Main, 1000), Verdict::Granted);
        assert_eq!(account.add(Main, MIB), Verdict::Told);
        assert!(!account.admits(4 * MIB, 100));
        assert_eq!(account.add(Main, 4 * MIB), Verdict::Refused);
        assert_eq!(account.used(), 33 * MIB + 2000);
    }

    #[test]
    fn a_refusal_leaves_room_to_clean_up_but_not_for_ever() {
        let account = of(32 * MIB);
        assert_eq!(account.add(Main, 36 * MIB), Verdict::Told);
        let mut refused = 0;
        for _ in 0..1000 {
            if account.add(Main, CLEANING) == Verdict::Refused {
                refused += 1;
                assert!(refused > 64 || account.admits(CLEANING, 100));
            }
        }
        assert_eq!(account.used(), 40 * MIB);
        account.remove(Main, 20 * MIB);
        assert!(!account.admits(20 * MIB + 1, 100));
    }

    #[test]
    fn who_was_below_meanwhile_is_told_again() {
        let account = of(32 * MIB);
        assert_eq!(account.add(Main, 32 * MIB + 1), Verdict::Told);
        account.remove(Main, 2);
        assert_eq!(account.add(Main, 2), Verdict::Told);
    }

    #[test]
    fn a_block_that_has_grown_is_counted_whatever_it_crosses() {
        let account = of(32 * MIB);
        assert_eq!(account.change(Main, 0, 40 * MIB), Verdict::Told);
        assert_eq!(account.used(), 40 * MIB);
        assert_eq!(account.change(Main, 40 * MIB, 10 * MIB), Verdict::Granted);
        assert_eq!(account.used(), 10 * MIB);
        assert_eq!(account.peak(), 40 * MIB);
    }

    #[test]
    fn the_peak_is_that_since_the_limit_was_set() {
        let account = Account::new();
        assert_eq!(account.add(Main, 10 * MIB), Verdict::Granted);
        account.remove(Main, 9 * MIB);
        assert_eq!(account.peak(), 10 * MIB);
        account.restart(32 * MIB);
        assert_eq!(account.peak(), MIB);
    }

    #[test]
    fn who_begins_with_much_has_half_of_the_limit_beside_it() {
        let account = Account::new();
        assert_eq!(account.add(Main, 100 * MIB), Verdict::Granted);
        account.restart(32 * MIB);
        assert!(account.admits(16 * MIB, 16 * MIB));
        assert!(!account.admits(16 * MIB + 1, 16 * MIB + 1));
    }

    #[test]
    fn relaxed_lines_leave_room_beyond_what_is_held() {
        let account = of(32 * MIB);
        assert_eq!(account.add(Main, 36 * MIB), Verdict::Told);
        assert_eq!(account.add(Main, MIB), Verdict::Refused);
        account.relax();
        assert!(account.admits(MIB, MIB));
        assert_eq!(account.add(Main, MIB), Verdict::Granted);
        assert!(!account.admits(64 * MIB, 64 * MIB));
    }

    #[test]
    fn what_other_threads_count_is_one_sum_with_the_rest() {
        let account = of(32 * MIB);
        assert_eq!(account.add(Main, 20 * MIB), Verdict::Granted);
        assert_eq!(account.add(Other, 12 * MIB), Verdict::Granted);
        assert_eq!(account.add(Other, 1), Verdict::Told);
        account.remove(Main, 12 * MIB);
        account.remove(Other, 20 * MIB);
        assert_eq!(account.used(), 1);
    }

    #[test]
    fn the_last_line_moves_there_and_back() {
        let account = of(32 * MIB);
        assert_eq!(account.add(Main, 36 * MIB), Verdict::Told);
        let slack = account.slack().cast_signed();
        account.move_last(slack);
        assert_eq!(account.add(Main, MIB), Verdict::Told);
        account.move_last(-slack);
        assert_eq!(account.add(Main, MIB), Verdict::Refused);
    }

    #[test]
    fn slack_is_an_eighth_within_bounds() {
        assert_eq!(slack(MIB), 4 * MIB);
        assert_eq!(slack(256 * MIB), 32 * MIB);
        assert_eq!(slack(4096 * MIB), 64 * MIB);
    }
}
