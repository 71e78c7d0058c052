//! Files with very many routes.

use std::fmt::Write as _;

use super::*;

/// So many that a check that looks at each pair of them does not end while anybody waits.
const MANY: usize = 10_000;

fn many(route: impl Fn(usize) -> String) -> String {
    (0..MANY).fold(String::new(), |mut text, index| {
        writeln!(text, "[[route]]\nmode = \"replay\"\n{}", route(index)).unwrap();
        text
    })
}

#[test]
fn very_many_routes_are_checked() {
    for config in [
        many(|index| format!("match = {{ path = \"/v1/thing{index}/**\" }}")),
        many(|index| {
            format!("match = {{ path = \"/v1/**\", headers = {{ x-team = \"team-{index}\" }} }}")
        }),
        many(|index| format!("match = {{ path = \"/v1/*/files/{index}\", method = \"POST\" }}")),
    ] {
        assert_eq!(parse(&config).unwrap().routes.len(), MANY);
    }
}

#[test]
fn of_very_many_mistakes_some_are_shown() {
    let config = many(|index| {
        format!(
            "match = {{ path = \"/v1/{index}\" }}\nset_headers = {{ authorization = {{ env = \"UNSET_{index}\" }} }}"
        )
    });
    let errors = parse(&config).unwrap_err();
    assert_eq!(errors.mistakes().len(), 100);
    let shown = errors.to_string();
    assert!(shown.contains("UNSET_99`") && !shown.contains("UNSET_100`"));
}

#[test]
fn a_file_of_one_line_is_checked() {
    let route = |index| {
        format!(
            "{{ mode = \"replay\", match = {{ path = \"/{index}\" }}, set_headers = {{ a = {{ value = \"hidden {index}\" }} }}, sed = 1 }}"
        )
    };
    let routes: Vec<_> = (0..MANY).map(route).collect();
    let errors = parse(&format!("route = [{}]", routes.join(", "))).unwrap_err();
    assert_eq!(errors.mistakes().len(), 100);
    assert!(!errors.to_string().contains("hidden"));
}
