use super::*;
use crate::key::{Canonical, KeyBody, KeyRules, KeySettings};
use crate::message::{Headers, RequestHead};

fn canonical(method: &str, path: &str, body: &str) -> Canonical {
    let head = RequestHead {
        method: method.to_owned(),
        path: path.to_owned(),
        query: None,
        headers: Headers::new(),
    };
    let rules = KeyRules::compile(&KeySettings::default()).unwrap();
    rules.canonical(&head, KeyBody::Whole(body.as_bytes()))
}

fn insert(near: &mut Near, id: usize, request: &Canonical) -> Marks {
    near.insert(
        RecordingId::new(id),
        &request.method,
        &request.path,
        &Sketch::of(request),
    )
}

fn find(near: &Near, request: &Canonical, limit: usize) -> Vec<usize> {
    let sketch = Sketch::of(request);
    near.find(&request.method, &request.path, &sketch, limit)
        .into_iter()
        .map(RecordingId::number)
        .collect()
}

fn question(index: usize, more: &str) -> String {
    let topic = format!("{:x}", mixed(index as u64));
    let words: Vec<_> = (0..30)
        .map(|at| format!("w{:x}", mixed((index * 31 + at) as u64) % 5000))
        .collect();
    // All have most in common.
    let system: Vec<_> = (0..300).map(|at| format!("rule{at}")).collect();
    format!(
        r#"{{"model":"gpt-4o","stream":true,"messages":[{{"role":"system","content":"{}"}},
        {{"role":"user","content":"About {topic}: {}{more}"}}]}}"#,
        system.join(" "),
        words.join(" ")
    )
}

#[test]
fn among_many_of_one_path_the_one_that_says_nearly_the_same_is_found() {
    let mut near = Near::default();
    for index in 0..5000 {
        insert(
            &mut near,
            index,
            &canonical("POST", "/v1/chat", &question(index, "")),
        );
    }
    let mut firsts = 0;
    for index in (0..5000).step_by(100) {
        let asked = canonical("POST", "/v1/chat", &question(index, " and in short"));
        let found = find(&near, &asked, 32);
        assert_eq!(found.len(), 32);
        assert!(found.contains(&index), "{index}: {found:?}");
        firsts += usize::from(found[0] == index);
    }
    assert!(firsts >= 45, "{firsts} of 50 come first");
}

#[test]
fn texts_without_blanks_are_compared_too() {
    let mut near = Near::default();
    let letters: Vec<char> = ('\u{4e00}'..'\u{6000}').collect();
    let question = |index: usize| -> String {
        (0..40)
            .map(|at| letters[usize::try_from(mixed((index * 41 + at) as u64) % 4000).unwrap()])
            .collect()
    };
    for index in 0..500 {
        let body = format!(r#"{{"q":"{}"}}"#, question(index));
        insert(&mut near, index, &canonical("POST", "/v1/chat", &body));
    }
    for index in (0..500).step_by(50) {
        let body = format!(r#"{{"q":"{}。"}}"#, question(index));
        let found = find(&near, &canonical("POST", "/v1/chat", &body), 32);
        assert_eq!(found[0], index);
    }
}

#[test]
fn what_was_taken_out_is_not_found() {
    let mut near = Near::default();
    let requests: Vec<_> = (0..3)
        .map(|index| canonical("POST", "/v1/chat", &question(index, "")))
        .collect();
    let marks: Vec<_> = requests
        .iter()
        .enumerate()
        .map(|(index, request)| insert(&mut near, index, request))
        .collect();
    near.remove(RecordingId::new(1), "POST", "/v1/chat", marks[1]);
    let mut found = find(&near, &requests[1], 32);
    found.sort_unstable();
    assert_eq!(found, [0, 2]);
    for index in [0, 2] {
        near.remove(RecordingId::new(index), "POST", "/v1/chat", marks[index]);
    }
    assert!(near.spots.is_empty() && near.methods.is_empty());
}

#[test]
fn paths_that_agree_further_come_first_and_other_methods_last() {
    let mut near = Near::default();
    let requests = [
        ("GET", "/v1/chat"),
        ("POST", "/other"),
        ("POST", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/chat"),
        ("PUT", "/nothing/alike"),
    ];
    for (index, (method, path)) in requests.into_iter().enumerate() {
        insert(&mut near, index, &canonical(method, path, ""));
    }
    let asked = canonical("POST", "/v1/chat", "{}");
    assert_eq!(find(&near, &asked, 32), [4, 3, 2, 1, 0]);
    assert_eq!(find(&near, &asked, 2), [4, 3]);
    assert!(find(&near, &canonical("PATCH", "/x", ""), 32).is_empty());
}

#[test]
fn a_path_without_end_costs_no_more_than_another() {
    let long = "/a".repeat(5000);
    let mut near = Near::default();
    insert(&mut near, 0, &canonical("GET", &long, ""));
    assert!(near.spots.len() <= DEPTH + 2 + MARKS);
    let asked = canonical("GET", &(long + "/b"), "");
    assert_eq!(find(&near, &asked, 32), [0]);
}
