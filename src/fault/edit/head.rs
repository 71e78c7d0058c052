//! Edits on the head of an answer, and the page that a gateway sends in the place of one.

use bytes::Bytes;

use crate::fault::kind::HeaderEdit;
use crate::message::Headers;

/// Does what is asked: takes out, sets, doubles, then adds the huge one.
pub fn edit_headers(edit: &HeaderEdit, headers: &mut Headers) {
    for name in &edit.drop {
        headers.remove(name);
    }
    for (name, value) in &edit.set {
        headers.set(name, value.clone());
    }
    for name in &edit.duplicate {
        let again: Vec<_> = headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(have, value)| (have.to_owned(), value.clone()))
            .collect();
        for (name, value) in again {
            headers.push(name, value);
        }
    }
    if let Some(size) = edit.huge {
        headers.push(HUGE, vec![b'x'; size.as_usize()]);
    }
}

/// The header that is as long as was asked.
pub const HUGE: &str = "x-rehearsal-huge";

/// The head and body with which a gateway answers in the place of an API, with status 200.
pub fn html_page() -> (u16, Headers, Bytes) {
    let body = Bytes::from_static(PAGE.as_bytes());
    let mut headers: Headers = [("content-type", "text/html; charset=utf-8")]
        .into_iter()
        .collect();
    headers.push("content-length", body.len().to_string());
    (200, headers, body)
}

const PAGE: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>Sign in</title></head>
<body>
<h1>Sign in to continue</h1>
<p>Your session has expired. Sign in again to reach this site.</p>
<form method=\"post\" action=\"/login\"><input name=\"user\"><input name=\"password\" type=\"password\"><button>Sign in</button></form>
</body>
</html>
";
