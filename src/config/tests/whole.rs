//! Files as a whole: what is read, and what there is without one.

use super::*;

#[test]
fn a_file_that_is_not_there_is_said_in_one_line() {
    let error = Config::load(Path::new("/no/such/file.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/no/such/file.toml: can't read the configuration: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_has_no_end_or_no_bottom_is_refused() {
    let error = Config::load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/dev/zero: can't read the configuration: it is larger than 4MiB"
    );
    for (open, close) in [("[", "]"), ("{ a = ", "}")] {
        let deep = format!("x = {}{}", open.repeat(100_000), close.repeat(100_000));
        assert!(parse(&deep).unwrap_err().to_string().len() < 5000);
    }
    assert!(parse(&format!("x{} = 1", ".a".repeat(50_000))).is_err());
}

#[test]
fn an_empty_file_is_the_embedded_default() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.clone().with(&Given::default()), Ok(config.clone()));
    assert_eq!(config.listen.http.to_string(), "127.0.0.1:8080");
    assert_eq!(config.routes[0].upstream, Some(Upstream::Fake));
    assert_eq!(config.routes[0].on_miss(), crate::mode::OnMiss::Record);
    assert_eq!(config.route_name(0), "route-1");
}

#[test]
fn everything_that_can_be_written_is_read() {
    let config = parse(EVERYTHING).unwrap();
    assert_eq!(config.routes.len(), 4);
    assert_eq!(
        config.routes[0].pace,
        crate::shape::pace::Pace::Recorded { speed: 2.0 }
    );
    assert!(!format!("{config:?}").contains("sk-from-env"));
}

#[test]
fn fitted_times_are_looked_for_when_the_config_is_checked() {
    check(
        "[[route]]\nname = 'a'\npace = { fitted = \"none.json\" }\n",
        &expect![[r#"
            rehearsal.toml:3:8: could not read the fitted times in none.json: No such file or directory (os error 2)
              |
            3 | pace = { fitted = "none.json" }
              |        ^^^^^^^^^^^^^^^^^^^^^^^^
              = `rehearsal cassette fit DIR --out FILE` writes one; the path starts in the config's folder"#]],
    );
}

#[test]
fn a_configuration_made_from_flags_is_checked_too() {
    let mut config = Config::default();
    config.routes[0].upstream = None;
    assert_eq!(
        config.with(&Given::default()).unwrap_err().to_string(),
        "route[0].on_miss: `on_miss = \"record\"` needs an upstream, and this route has none\n  \
         = add `upstream = \"https://HOST\"`, or `upstream = \"fake\"` for the built-in backend"
    );
}

#[test]
fn the_schema_documents_every_key() {
    fn walk(schema: &serde_json::Value, way: &str, keys: &mut usize) {
        if let Some(properties) = schema.get("properties").and_then(|it| it.as_object()) {
            for (key, property) in properties {
                *keys += 1;
                let is_documented = property.get("description").is_some()
                    || schema.get("description").is_some() && properties.len() == 1;
                assert!(is_documented, "{way}.{key} says what it is");
                walk(property, &format!("{way}.{key}"), keys);
            }
        }
    }
    let schema = schema();
    let mut keys = 0;
    walk(&schema, "", &mut keys);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        walk(definition, name, &mut keys);
    }
    assert!(keys > 40, "{keys}");
    assert_eq!(
        schema["$defs"]["Listen"]["properties"]["http"]["default"],
        "127.0.0.1:8080"
    );
    assert_eq!(schema["additionalProperties"], false);
}
