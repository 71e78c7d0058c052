//! What README and `fixtures/` show is read by the real reader.

use std::fs;
use std::path::Path;

use rehearsal::cassette::{Access, Cassette};
use rehearsal::config::Config;
use rehearsal::plan::Plan;

/// The code blocks of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    text.split(&open)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_config_in_the_readme_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let blocks = blocks(&fs::read_to_string(root.join("README.md")).unwrap(), "toml");
    assert!(!blocks.is_empty());
    for block in blocks {
        // A variable that is surely set stands in for the one in the example.
        let text = block.replace("OPENAI_AUTHORIZATION", "PATH");
        let config = Config::parse(&text, Path::new("README.md"))
            .unwrap_or_else(|errors| panic!("{errors}"));
        Plan::compile(&config).unwrap();
    }
}

#[test]
fn every_kind_of_fault_is_shown_in_the_readme_and_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, text) = text.split_once("\n## Faults\n").unwrap();
    let (kinds, _) = text.split_once("**Places**").unwrap();
    let rules: Vec<_> = kinds
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| {
            code.contains(" = ") && !code.starts_with("{ ") && !code.starts_with("scope")
        })
        .collect();
    assert!(rules.len() > 20, "{rules:?}");
    for rule in rules {
        let text = format!("[[route]]\nupstream = 'fake'\n[[route.fault]]\n{rule}\n");
        let config = Config::parse(&text, Path::new("README.md"))
            .unwrap_or_else(|errors| panic!("{errors}"));
        Plan::compile(&config).unwrap();
    }
    let schema = rehearsal::config::schema();
    let settings = schema["$defs"]["FaultSettings"]["properties"]
        .as_object()
        .unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for name in settings.keys() {
        let is_shown = [
            format!("`{name}`"),
            format!("`{name} = "),
            format!("\n{name} "),
        ]
        .iter()
        .any(|shown| readme.contains(shown));
        assert!(is_shown, "README does not show `{name}`");
    }
}

#[test]
fn every_config_in_fixtures_is_right() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut count = 0;
    for entry in fs::read_dir(fixtures).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn a_cassette_of_version_1_is_read_for_ever() {
    let cassette = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cassette-v1");
    let cassette = Cassette::open(&cassette, Access::Read).unwrap();
    assert_eq!(cassette.broken(), []);
    let recording = cassette.named("POST-v1-chat-completions").unwrap();
    assert_eq!((recording.head.status, recording.items.len()), (200, 3));
    assert_eq!(recording.items[2].at.as_micros(), 1985);
    let body = recording.request_body.load().unwrap().unwrap();
    assert_eq!(body, r#"{"model":"gpt-4o","stream":true}"#.as_bytes());
}
