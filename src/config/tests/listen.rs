//! Where listeners may be.

use super::*;

const ROUTE: &str = "[[route]]\nname = \"all\"\nmode = \"synthesize\"\n";

#[test]
fn two_listeners_at_one_place_are_refused_with_both_keys() {
    check(
        &format!("[listen]\nhttp = \"0.0.0.0:8080\"\nadmin = \"127.0.0.1:8080\"\n{ROUTE}"),
        &expect![[r#"
            rehearsal.toml:3:9: `admin` can't listen at 127.0.0.1:8080: `http` listens at 0.0.0.0:8080
              |
            3 | admin = "127.0.0.1:8080"
              |         ^^^^^^^^^^^^^^^^
              = expected another port, or 0 for any that is free"#]],
    );
    // Where `http` listens if nobody says so.
    check(
        &format!("[listen]\nadmin = \"127.0.0.1:8080\"\n{ROUTE}"),
        &expect![[r#"
            rehearsal.toml:2:9: `admin` can't listen at 127.0.0.1:8080: `http` listens at 127.0.0.1:8080
              |
            2 | admin = "127.0.0.1:8080"
              |         ^^^^^^^^^^^^^^^^
              = expected another port, or 0 for any that is free"#]],
    );
    let https = |https: &str| {
        format!(
            "[listen]\nhttp = \"127.0.0.1:1\"\nhttps = \"{https}\"\nadmin = \"localhost:2\"\n{ROUTE}"
        )
    };
    for (place, expected) in [
        (
            "127.0.0.1:1",
            "`https` can't listen at 127.0.0.1:1: `http` listens at 127.0.0.1:1",
        ),
        (
            "0.0.0.0:2",
            "`admin` can't listen at localhost:2: `https` listens at 0.0.0.0:2",
        ),
    ] {
        let errors = parse(&https(place))
            .expect_err("there is a mistake")
            .to_string();
        assert!(errors.contains(expected), "{errors}");
    }
}

#[test]
fn listeners_at_other_places_are_no_mistake() {
    for (http, admin) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:8080", "127.0.0.1:8081"),
        ("192.0.2.1:8080", "127.0.0.1:8080"),
    ] {
        let text = format!("[listen]\nhttp = \"{http}\"\nadmin = \"{admin}\"\n{ROUTE}");
        if let Err(errors) = parse(&text) {
            panic!("{errors}");
        }
    }
}
