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

#[test]
fn settings_of_an_admin_listener_that_is_not_there_are_told() {
    check(
        r#"
[listen]
admin_remote = true
admin_hosts = ["admin.test"]
"#,
        &expect![[r#"
            rehearsal.toml:3:1: `admin_remote` has no effect, because there is no `admin` to listen for
              |
            3 | admin_remote = true
              | ^^^^^^^^^^^^
              = add `admin = "127.0.0.1:8081"`, or take it out

            rehearsal.toml:4:1: `admin_hosts` has no effect, because there is no `admin` to listen for
              |
            4 | admin_hosts = ["admin.test"]
              | ^^^^^^^^^^^
              = add `admin = "127.0.0.1:8081"`, or take it out"#]],
    );
    let given = Given {
        admin: "127.0.0.1:0".parse().ok(),
        ..Given::default()
    };
    assert!(parse_with("listen = { admin_remote = true }", &given).is_ok());
}

#[test]
fn flags_are_held_against_each_other_and_against_the_file() {
    let at = |port: u16| Some(Address::local(port));
    let given = |http, admin| Given {
        http,
        admin,
        ..Given::default()
    };
    let file = "[listen]\nhttp = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n";
    for (given, expected) in [
        (
            given(at(2), None),
            expect![[r#"
            rehearsal.toml:3:9: `admin` can't listen at 127.0.0.1:2: `--listen` listens at 127.0.0.1:2
              |
            3 | admin = "127.0.0.1:2"
              |         ^^^^^^^^^^^^^
              = expected another port, or 0 for any that is free"#]],
        ),
        (
            given(None, at(1)),
            expect![[r#"
            --admin: `--admin` can't listen at 127.0.0.1:1: `http` listens at 127.0.0.1:1
              = expected another port, or 0 for any that is free"#]],
        ),
        (
            given(at(3), at(3)),
            expect![[r#"
            --admin: `--admin` can't listen at 127.0.0.1:3: `--listen` listens at 127.0.0.1:3
              = expected another port, or 0 for any that is free"#]],
        ),
    ] {
        expected.assert_eq(&parse_with(file, &given).unwrap_err().to_string());
    }
    let config = parse_with(file, &given(at(2), at(1))).unwrap();
    assert_eq!(config.listen.http, Address::local(2));
    assert_eq!(config.listen.admin, Some(Address::local(1)));
    let error = Config::default().with(&given(at(3), at(3))).unwrap_err();
    expect![[r#"
        --admin: `--admin` can't listen at 127.0.0.1:3: `--listen` listens at 127.0.0.1:3
          = expected another port, or 0 for any that is free"#]]
    .assert_eq(&error.to_string());
}
