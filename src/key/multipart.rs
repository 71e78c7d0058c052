//! Takes a multipart body apart (RFC 2046), for the key and for redaction. Borrowed, bounded, and exact about bytes.

/// One part between two boundaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawPart<'a> {
    /// Its header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Where its content stands in the whole body. `start <= end <= body.len()`
    pub(crate) content: std::ops::Range<usize>,
    /// Its content.
    pub(crate) bytes: &'a [u8],
}

impl RawPart<'_> {
    /// The value of its first header line of this name, given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter of its `content-disposition`.
    pub(crate) fn disposition(&self, name: &str) -> Option<String> {
        parameter(self.header("content-disposition")?, name)
    }
}

/// The parts of a body, in their order. `None` where it is not what the content type claims.
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<RawPart<'a>>> {
    let boundary = parameter(content_type, "boundary").filter(|text| !text.is_empty())?;
    let delimiter = format!("--{boundary}").into_bytes();
    let finder = memchr::memmem::Finder::new(&delimiter);
    let mut parts = Vec::new();
    // Where the content after the last delimiter begins.
    let mut open: Option<usize> = None;
    let mut from = 0;
    while let Some(at) = finder.find(body.get(from..)?).map(|found| found + from) {
        from = at + delimiter.len();
        let at_line_start = at == 0 || body.get(at - 1) == Some(&b'\n');
        let rest = body.get(from..)?;
        let closes = rest.starts_with(b"--");
        let Some(after) = line_end(if closes { rest.get(2..)? } else { rest }) else {
            continue;
        };
        if !at_line_start {
            continue;
        }
        if let Some(start) = open {
            let mut end = at - 1;
            if end > start && body.get(end - 1) == Some(&b'\r') {
                end -= 1;
            }
            parts.push(part(body, start, end.max(start))?);
        }
        if closes {
            return Some(parts);
        }
        if parts.len() >= MAX_PARTS {
            return None;
        }
        from += after;
        open = Some(from);
    }
    None
}

/// A parameter such as `boundary` of a header value, without its quotes.
pub(crate) fn parameter(value: &str, name: &str) -> Option<String> {
    let (_, mut rest) = value.split_once(';')?;
    loop {
        let (have, after) = rest.split_once('=')?;
        let have = have.trim();
        let after = after.trim_start();
        let (text, tail) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)
        } else {
            let (text, tail) = after.split_once(';').unwrap_or((after, ""));
            (text.trim().to_owned(), tail)
        };
        if have.eq_ignore_ascii_case(name) {
            return Some(text);
        }
        rest = tail.trim_start().trim_start_matches(';');
    }
}

fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, quoted.get(at + 1..).unwrap_or_default()),
            // Browsers leave backslashes in file names alone, so only a quote counts as escaped.
            '\\' if quoted.get(at + 1..).is_some_and(|s| s.starts_with('"')) => {
                text.extend(chars.next().map(|(_, c)| c));
            }
            c => text.push(c),
        }
    }
    (text, "")
}

/// How many bytes there are up to and with the line end, where nothing but blanks comes before it.
fn line_end(rest: &[u8]) -> Option<usize> {
    let blanks = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    match rest.get(blanks..)? {
        [b'\r', b'\n', ..] => Some(blanks + 2),
        [b'\n', ..] => Some(blanks + 1),
        [] => Some(blanks),
        _ => None,
    }
}

fn part(body: &[u8], start: usize, end: usize) -> Option<RawPart<'_>> {
    let mut headers = Vec::new();
    let mut at = start;
    loop {
        let rest = body.get(at..end)?;
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |lf| lf + 1);
        let line = rest.get(..length)?;
        at += length;
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        if headers.len() > MAX_HEADERS {
            return None;
        }
    }
    Some(RawPart {
        headers,
        content: at..end,
        bytes: body.get(at..end)?,
    })
}

/// More parts than a form has; beyond it the body is taken as bytes.
const MAX_PARTS: usize = 10_000;

/// Parts have three or four.
const MAX_HEADERS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_found_whatever_the_boundary() {
        for boundary in ["x", "----WebKitFormBoundary7MA4YWxkTrZu0gW", "a b"] {
            let body = format!(
                "preamble\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--{boundary}  \r\n\
                 content-disposition: form-data; filename=\"q\\\"q.txt\"; name=b\r\nContent-Type: text/plain\r\n\r\n\
                 two\r\n--{boundary}x\r\n\r\n--{boundary}--\r\nepilogue"
            );
            let content_type =
                format!("multipart/form-data; charset=utf-8; boundary=\"{boundary}\"");
            let parts = parts(&content_type, body.as_bytes()).unwrap();
            assert_eq!(parts.len(), 2);
            assert_eq!(parts[0].disposition("name").as_deref(), Some("a"));
            assert_eq!(parts[0].bytes, b"one");
            assert_eq!(parts[1].disposition("name").as_deref(), Some("b"));
            assert_eq!(
                parts[1].disposition("filename").as_deref(),
                Some("q\"q.txt")
            );
            assert_eq!(parts[1].header("content-type"), Some("text/plain"));
            assert_eq!(&body.as_bytes()[parts[1].content.clone()], parts[1].bytes);
            assert_eq!(
                parts[1].bytes,
                format!("two\r\n--{boundary}x\r\n").as_bytes()
            );
        }
    }

    #[test]
    fn what_is_not_multipart_is_none() {
        let form = "multipart/form-data; boundary=x";
        for (content_type, body) in [
            ("multipart/form-data", "--x\r\n\r\n\r\n--x--"),
            (form, ""),
            (form, "--x"),
            (form, "--x\r\n\r\nunfinished"),
            (form, "--x\r\nno colon\r\n\r\n--x--"),
        ] {
            assert_eq!(parts(content_type, body.as_bytes()), None, "{body:?}");
        }
        assert_eq!(parts(form, b"--x--"), Some(Vec::new()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic(body in "(--x|--|\r\n|\n|a: b|;|=|\"|é){0,30}", content_type in "[a-z;=\" x\\\\]{0,30}") {
            for content_type in ["multipart/form-data; boundary=x", &content_type] {
                for part in parts(content_type, body.as_bytes()).unwrap_or_default() {
                    prop_assert_eq!(&body.as_bytes()[part.content], part.bytes);
                }
            }
        }
    }
}
