//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): the trace of a request or an event, as both
//! carry it.

use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a `traceparent`.
const LENGTH: usize = 55;
const TRACE_ID: Range<usize> = 3..35;
const SPAN_ID: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..55;

/// Entries that a `tracestate` may have; the whole of one with more is dropped.
pub const TRACESTATE_ENTRIES: usize = 32;
/// Bytes of a `tracestate` that are passed on.
pub const TRACESTATE_BYTES: usize = 512;
/// Entries over this size, in bytes, go first when a `tracestate` is too long.
const LARGE_ENTRY: usize = 128;

/// A valid `traceparent`: the trace, a span in it, and whether it is sampled. Kept as its text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Traceparent([u8; LENGTH]);

impl Traceparent {
    /// The first span of a new trace, which is sampled.
    pub fn new(trace_id: u128, span_id: u64) -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        write_hex(&mut text[TRACE_ID], trace_id.max(1));
        write_hex(&mut text[SPAN_ID], span_id.max(1).into());
        Self(text)
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn with_span(mut self, span_id: u64) -> Self {
        write_hex(&mut self.0[SPAN_ID], span_id.max(1).into());
        self
    }

    /// Reads a header. Of a future version, the known parts are taken. Flags other than `sampled` mean
    /// nothing yet and are cleared, as the standard wants.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.as_bytes().split_first_chunk::<LENGTH>()?;
        let mut own = *head;
        let is_hex = |range: Range<usize>| {
            let mut digits = head[range].iter();
            digits.all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id =
            |range: Range<usize>| is_hex(range.clone()) && head[range].iter().any(|b| *b != b'0');
        let goes_on = match &head[..2] {
            b"ff" => return None,
            b"00" => rest.is_empty(),
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let valid = goes_on
            && is_hex(0..2)
            && [2, 35, 52].iter().all(|at| head[*at] == b'-')
            && is_id(TRACE_ID)
            && is_id(SPAN_ID)
            && is_hex(FLAGS);
        let flags = char::from(head[54]).to_digit(16)?;
        own[..2].copy_from_slice(b"00");
        own[FLAGS].copy_from_slice(if flags & 1 == 1 { b"01" } else { b"00" });
        valid.then_some(Self(own))
    }

    /// 32 lower-case hex digits.
    pub fn trace_id(&self) -> &str {
        &self.as_str()[TRACE_ID]
    }

    /// 16 lower-case hex digits.
    pub fn span_id(&self) -> &str {
        &self.as_str()[SPAN_ID]
    }

    /// True if whoever began the trace records it.
    pub fn is_sampled(&self) -> bool {
        self.0.ends_with(b"1")
    }

    /// The text of the header.
    #[expect(clippy::missing_panics_doc, reason = "it is made of ASCII alone")]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits and dashes are ASCII")
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

fn write_hex(mut to: &mut [u8], id: u128) {
    let width = to.len();
    write!(to, "{id:0width$x}").expect("an id has no more digits than its place");
}

/// The part of a message's `tracestate` headers that is passed on: whole entries, at most
/// [`TRACESTATE_BYTES`]. Nothing of a malformed one.
pub fn tracestate<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Arc<str>> {
    let mut entries: Vec<(&str, &str)> = Vec::new();
    let given = headers.into_iter().flat_map(|header| header.split(','));
    for entry in given.map(|entry| entry.trim_matches([' ', '\t'])) {
        if entry.is_empty() {
            continue;
        }
        let (key, value) = entry.split_once('=')?;
        let twice = entries.iter().any(|(known, _)| *known == key);
        if twice || !is_key(key) || !is_value(value) || entries.len() == TRACESTATE_ENTRIES {
            return None;
        }
        entries.push((key, entry));
    }
    let too_long = |entries: &[(&str, &str)]| {
        let bytes: usize = entries.iter().map(|(_, entry)| entry.len() + 1).sum();
        bytes > TRACESTATE_BYTES + 1
    };
    if too_long(&entries) {
        entries.retain(|(_, entry)| entry.len() <= LARGE_ENTRY);
    }
    while too_long(&entries) {
        entries.pop();
    }
    let entries: Vec<&str> = entries.into_iter().map(|(_, entry)| entry).collect();
    (!entries.is_empty()).then(|| entries.join(",").into())
}

fn is_key(key: &str) -> bool {
    let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    (1..=256).contains(&key.len())
        && key.as_bytes().first().is_some_and(plain)
        && key
            .bytes()
            .all(|byte| plain(&byte) || b"_-*/@".contains(&byte))
}

fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(text: &str) -> Option<String> {
        Traceparent::parse(text).map(|read| read.as_str().to_owned())
    }

    #[test]
    fn a_valid_traceparent_is_read_as_it_is() {
        let read = Traceparent::parse(VALID).unwrap();
        assert_eq!(read.as_str(), VALID);
        assert_eq!(
            (read.trace_id(), read.span_id()),
            (TRACE, "b7ad6b7169203331")
        );
        assert!(read.is_sampled());
        let unsampled = Traceparent::parse(&VALID.replace("-01", "-00")).unwrap();
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn of_the_flags_the_sampled_one_is_kept() {
        for (given, kept) in [
            ("00", "00"),
            ("01", "01"),
            ("02", "00"),
            ("03", "01"),
            ("09", "01"),
            ("0a", "00"),
            ("0b", "01"),
            ("fe", "00"),
            ("ff", "01"),
        ] {
            let flags = format!("00-{TRACE}-b7ad6b7169203331-{given}");
            assert!(read(&flags).unwrap().ends_with(kept), "{given}");
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        for later in ["01", "cc", "fe"] {
            let later = VALID.replacen("00", later, 1);
            assert_eq!(read(&later).as_deref(), Some(VALID));
            assert_eq!(read(&format!("{later}-what-comes")).as_deref(), Some(VALID));
            assert_eq!(read(&format!("{later}-")).as_deref(), Some(VALID));
            assert_eq!(read(&format!("{later}.what-comes")), None);
            assert_eq!(read(&format!("{later}1")), None);
        }
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let ids = |trace: &str, span: &str| format!("00-{trace}-{span}-01");
        for bad in [
            String::new(),
            "00".into(),
            "garbage".into(),
            VALID.to_uppercase(),
            VALID.replacen("00", "ff", 1),
            VALID.replacen("00", "0x", 1),
            VALID.replacen("00", "FE", 1),
            VALID[1..].into(),
            VALID[..54].into(),
            format!(" {VALID}"),
            format!("{VALID}-"),
            format!("{VALID}-more"),
            format!("{VALID} "),
            VALID.replace('-', "_"),
            VALID.replace("-01", "-0x"),
            VALID.replace("-01", ".01"),
            ids(&"0".repeat(32), "b7ad6b7169203331"),
            ids(TRACE, &"0".repeat(16)),
            ids(&TRACE.replace('a', "g"), "b7ad6b7169203331"),
            ids(&TRACE.replace('a', "é"), "b7ad6b7169203331"),
            ids(&TRACE[1..], "b7ad6b7169203331"),
            ids(TRACE, "b7ad6b716920333"),
            ids(TRACE, "b7ad6b7169203331a"),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_new_trace_is_sampled_and_a_span_of_a_trace_keeps_all_else() {
        let new = Traceparent::new(0xab, 0xcd);
        assert_eq!(read(new.as_str()).as_deref(), Some(new.as_str()));
        assert!(new.is_sampled() && new.trace_id().ends_with("0ab"));
        assert!(new.span_id().ends_with("0cd"));
        assert!(
            read(Traceparent::new(0, 0).as_str()).is_some(),
            "no id is zero"
        );
        let unsampled = Traceparent::parse(&VALID.replace("-01", "-00")).unwrap();
        let span = unsampled.with_span(u64::MAX);
        assert_eq!(span.as_str(), format!("00-{TRACE}-ffffffffffffffff-00"));
    }

    fn state(headers: &[&str]) -> Option<String> {
        tracestate(headers.iter().copied()).map(|state| state.to_string())
    }

    #[test]
    fn a_tracestate_is_kept_in_its_order_from_all_headers() {
        let kept = |headers: &[&str]| state(headers).unwrap();
        assert_eq!(kept(&["rojo=00f067aa0ba902b7"]), "rojo=00f067aa0ba902b7");
        assert_eq!(
            kept(&["rojo=1, congo=2", "\t0v@x=3,,"]),
            "rojo=1,congo=2,0v@x=3"
        );
        assert_eq!(kept(&["a= b!~"]), "a= b!~");
        assert_eq!(state(&[]), None);
        assert_eq!(state(&["", " , "]), None);
    }

    #[test]
    fn a_malformed_tracestate_is_dropped() {
        let long = "x".repeat(257);
        for bad in [
            "rojo",
            "=1",
            "rojo=",
            "Rojo=1",
            "ro jo=1",
            "_a=1",
            "a=1=2",
            "a=ü",
            "a=1,a=2",
            "a=1;b=2=3",
            "a=1,b",
            "a=\u{7f}",
            &format!("{long}=1"),
            &format!("a={long}"),
        ] {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
        let entries = |count: usize| (0..count).map(|at| format!("k{at}=1")).collect::<Vec<_>>();
        let kept = state(&[&entries(TRACESTATE_ENTRIES).join(",")]);
        assert_eq!(kept.unwrap().split(',').count(), TRACESTATE_ENTRIES);
        assert_eq!(state(&[&entries(TRACESTATE_ENTRIES + 1).join(",")]), None);
    }

    #[test]
    fn of_a_long_tracestate_large_entries_go_first_then_the_last_ones() {
        let entry =
            |key: &str, bytes: usize| format!("{key}={}", "x".repeat(bytes - key.len() - 1));
        let fits = [entry("a", 256), entry("b", 255)].join(",");
        assert_eq!(fits.len(), TRACESTATE_BYTES);
        assert_eq!(state(&[&fits]), Some(fits));
        let (large, a, b) = (entry("large", 129), entry("a", 128), entry("b", 128));
        let (c, d) = (entry("c", 128), entry("d", 128));
        let all = [&*large, &a, &b, &c, &d].join(",");
        assert_eq!(state(&[&all]), Some([&*a, &b, &c].join(",")));
    }
}
