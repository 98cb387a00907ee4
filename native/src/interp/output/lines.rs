//! Text that waits for the end of its line, apart for all who print.

use std::collections::HashMap;

/// A longer piece goes on without the end of its line, and text is sent in pieces of this size at most.
const LONGEST: usize = 32 << 10;

/// Who prints, and on which of the two streams.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source {
    /// 0: what belongs to none.
    pub(super) request: u64,
    /// Those lines are apart by thread; 0 for those of requests.
    pub(super) thread: u64,
    pub(super) error: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Lines(HashMap<Source, Vec<u8>>);

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds text; gives what is to be sent now.
    pub(super) fn add(&mut self, source: Source, text: &[u8]) -> Option<Vec<u8>> {
        let ends = text.iter().rposition(|&byte| byte == b'\n');
        let Some(end) = ends else {
            let begun = self.0.entry(source).or_default();
            begun.extend_from_slice(text);
            return (begun.len() > LONGEST).then(|| self.take(source)).flatten();
        };
        let (whole, rest) = text.split_at(end + 1);
        let mut lines = self.0.remove(&source).unwrap_or_default();
        lines.extend_from_slice(whole);
        if !rest.is_empty() {
            self.0.insert(source, rest.to_vec());
        }
        Some(lines)
    }

    /// What has no end yet, up to the last whole character.
    pub(super) fn take(&mut self, source: Source) -> Option<Vec<u8>> {
        let mut begun = self.0.remove(&source)?;
        let rest = begun.split_off(whole_characters(&begun));
        if !rest.is_empty() {
            self.0.insert(source, rest);
        }
        (!begun.is_empty()).then_some(begun)
    }

    /// All that a request, or a thread, has left.
    pub(super) fn take_of(&mut self, request: u64, thread: u64) -> Vec<(bool, Vec<u8>)> {
        let mut left = Vec::new();
        for error in [false, true] {
            let begun = self.0.remove(&Source {
                request,
                thread,
                error,
            });
            left.extend(begun.map(|text| (error, text)));
        }
        left
    }

    /// All that anybody has left.
    pub(super) fn take_all(&mut self) -> Vec<(bool, Vec<u8>)> {
        let left = self.0.drain().map(|(source, text)| (source.error, text));
        left.collect()
    }
}

/// How much of a text there is before a character that is not complete.
fn whole_characters(text: &[u8]) -> usize {
    // The first byte of such a character is among the last three.
    for back in 1..=3.min(text.len()) {
        let place = text.len() - back;
        let needs = match text[place] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => 1,
        };
        return if needs > back { place } else { text.len() };
    }
    text.len()
}

/// A text in pieces that are not too long, of whole characters.
pub(super) fn pieces(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let most = text.len().min(LONGEST);
        let end = match whole_characters(&text[..most]) {
            _ if most == text.len() => most,
            0 => most,
            end => end,
        };
        let (piece, rest) = text.split_at(end);
        text = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Source = Source {
        request: 1,
        thread: 0,
        error: false,
    };

    #[test]
    fn lines_go_on_when_they_end() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(HERE, b"a"), None);
        assert_eq!(lines.add(HERE, b"b\nc"), Some(b"ab\n".to_vec()));
        assert_eq!(lines.take_of(1, 0), vec![(false, b"c".to_vec())]);
        assert!(lines.is_empty());
    }

    #[test]
    fn sources_do_not_mix() {
        let mut lines = Lines::default();
        let there = Source { request: 2, ..HERE };
        assert_eq!(lines.add(HERE, b"a"), None);
        assert_eq!(lines.add(there, b"b\n"), Some(b"b\n".to_vec()));
        assert_eq!(lines.take(HERE), Some(b"a".to_vec()));
    }

    #[test]
    fn characters_stay_whole() {
        let mut lines = Lines::default();
        let euro = "€".as_bytes();
        assert_eq!(lines.add(HERE, &euro[..2]), None);
        assert_eq!(lines.take(HERE), None);
        assert_eq!(lines.add(HERE, &euro[2..]), None);
        assert_eq!(lines.take(HERE), Some(euro.to_vec()));
        let long = "€".repeat(LONGEST);
        let cut: Vec<&[u8]> = pieces(long.as_bytes()).collect();
        assert!(cut.iter().all(|piece| std::str::from_utf8(piece).is_ok()));
        assert!(cut.iter().all(|piece| piece.len() <= LONGEST));
        assert_eq!(cut.concat(), long.as_bytes());
    }

    #[test]
    fn what_is_no_text_ends_all_the_same() {
        let bytes = vec![0x80; 3 * LONGEST];
        assert_eq!(pieces(&bytes).map(<[u8]>::len).sum::<usize>(), bytes.len());
        assert_eq!(pieces(b"").count(), 0);
    }
}
