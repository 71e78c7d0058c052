//! Where the value of a header that the proxy sets comes from, and secrets that don't show themselves.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::text;

/// A text that is never shown, neither by `Debug` nor in a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, to be sent and for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Where a header's value comes from: `{ env = … }`, `{ file = … }`, `{ value = … }` or `{ literal_secret = … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// The environment variable of this name.
    Env(String),
    /// The content of this file, without the line break at its end. Relative to the folder of the configuration.
    File(PathBuf),
    /// This text. Refused for headers that usually hold a secret.
    Value(Secret),
    /// This text, although it is a secret and now stands in the configuration.
    LiteralSecret(Secret),
}

/// Why the value of a header can't be had.
#[derive(Debug, thiserror::Error)]
pub enum HeaderValueError {
    /// The environment has no such variable.
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    /// This can't be the name of a variable; it is not shown, since it may be the secret itself.
    #[error("this is not the name of an environment variable, expected letters, digits and `_`")]
    NotAVariable,
    /// The file can't be read, or is not UTF-8.
    #[error("can't read `{}`: {why}", path.display())]
    Unreadable {
        /// As it was opened.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// HTTP does not allow these bytes in a header.
    #[error("the value is empty or holds a control character, which a header can't")]
    NotAHeaderValue,
}

impl HeaderValue {
    /// The value itself. `folder` is where relative files start, `env` looks up environment variables.
    ///
    /// # Errors
    /// Why it can't be had; never with the value in it.
    pub fn resolve(
        &self,
        folder: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Secret, HeaderValueError> {
        let text = match self {
            Self::Env(name) if !is_variable(name) => return Err(HeaderValueError::NotAVariable),
            Self::Env(name) => env(name).ok_or_else(|| HeaderValueError::Unset(name.clone()))?,
            Self::File(file) => {
                let path = folder.join(file);
                let text = read_start(&path).map_err(|error| HeaderValueError::Unreadable {
                    path,
                    why: error.to_string(),
                })?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                line.strip_suffix('\r').unwrap_or(line).to_owned()
            }
            Self::Value(text) | Self::LiteralSecret(text) => text.reveal().to_owned(),
        };
        if text.is_empty() || text.chars().any(|char| char.is_control() && char != '\t') {
            return Err(HeaderValueError::NotAHeaderValue);
        }
        Ok(Secret(text))
    }
}

/// What a header can't hold anyway is not read, such as a device without an end.
fn read_start(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_VALUE + 1)
        .read_to_end(&mut bytes)?;
    // What it holds instead is not said: it is a secret.
    let text = text::utf8(text::without_mark(&bytes))
        .map_err(|_| std::io::Error::other("it is not UTF-8"))?
        .to_owned();
    if text.len() as u64 > MAX_VALUE {
        return Err(std::io::Error::other(format!(
            "it is larger than {MAX_VALUE} bytes, which no header holds"
        )));
    }
    Ok(text)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|char: char| char.is_ascii_digit())
        && name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || char == '_')
}

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand, because a derived enum says in its errors what it found, and that may be a secret.
        deserializer.deserialize_any(HeaderValueVisitor)
    }
}

struct HeaderValueVisitor;

impl<'de> Visitor<'de> for HeaderValueVisitor {
    type Value = HeaderValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<HeaderValue, E> {
        Err(E::custom(format_args!(
            "a bare text is not taken here, expected {EXPECTED}"
        )))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderValue, A::Error> {
        let Some(origin) = map.next_key()? else {
            return Err(de::Error::custom(format_args!(
                "nothing says where the value comes from, expected {EXPECTED}"
            )));
        };
        let value = match origin {
            Origin::Env => HeaderValue::Env(map.next_value()?),
            Origin::File => HeaderValue::File(map.next_value()?),
            Origin::Value => HeaderValue::Value(Secret(map.next_value()?)),
            Origin::LiteralSecret => HeaderValue::LiteralSecret(Secret(map.next_value()?)),
        };
        if map.next_key::<Origin>()?.is_some() {
            return Err(de::Error::custom(format_args!(
                "the value comes from two places, expected one of {EXPECTED}"
            )));
        }
        Ok(value)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    Env,
    File,
    Value,
    LiteralSecret,
}

impl JsonSchema for HeaderValue {
    fn schema_name() -> Cow<'static, str> {
        "HeaderValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = |name: &str, what: &str| {
            serde_json::json!({
                "type": "object",
                "description": what,
                "properties": { name: { "type": "string" } },
                "required": [name],
                "additionalProperties": false
            })
        };
        json_schema!({
            "description": "Where a header's value comes from.",
            "oneOf": [
                one("env", "The environment variable of this name."),
                one("file", "The content of this file, without the line break at its end."),
                one("value", "This text. Refused for headers that usually hold a secret."),
                one("literal_secret", "This text, although it is a secret.")
            ]
        })
    }
}

const EXPECTED: &str = "`{ env = \"NAME\" }`, `{ file = \"path\" }`, `{ value = \"text\" }`";

/// In bytes.
const MAX_VALUE: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(value: &HeaderValue, folder: &Path) -> Result<String, String> {
        value
            .resolve(folder, &|name| {
                (name == "KEY").then(|| "Bearer x".to_owned())
            })
            .map(|secret| secret.reveal().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_comes_from_where_the_configuration_says() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "Bearer y\r\n").unwrap();
        std::fs::write(folder.path().join("two"), "a\nb\n").unwrap();
        std::fs::write(folder.path().join("marked"), "\u{feff}Bearer z").unwrap();
        std::fs::write(folder.path().join("latin"), b"Bearer \xe9").unwrap();
        let env = |name: &str| HeaderValue::Env(name.to_owned());
        let file = |name: &str| HeaderValue::File(name.into());
        let check = |value: &HeaderValue, expected: Result<&str, &str>| {
            let got = resolve(value, folder.path());
            assert_eq!(got.as_deref().map_err(String::as_str), expected);
        };
        check(&env("KEY"), Ok("Bearer x"));
        check(
            &env("NONE"),
            Err("the environment variable `NONE` is not set"),
        );
        check(
            &env("sk-live-1"),
            Err(
                "this is not the name of an environment variable, expected letters, digits and `_`",
            ),
        );
        check(&file("key"), Ok("Bearer y"));
        check(&file("marked"), Ok("Bearer z"));
        let latin = resolve(&file("latin"), folder.path()).unwrap_err();
        assert!(latin.ends_with("latin`: it is not UTF-8"), "{latin}");
        check(
            &file("two"),
            Err("the value is empty or holds a control character, which a header can't"),
        );
        check(
            &file("/dev/zero"),
            Err("can't read `/dev/zero`: it is larger than 16384 bytes, which no header holds"),
        );
        assert!(resolve(&file("gone"), folder.path()).is_err());
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let value = HeaderValue::LiteralSecret(Secret::new("sk-live"));
        assert_eq!(format!("{value:?}"), "LiteralSecret([secret])");
    }
}
