//! Headers to set, and what of a file is never shown.

use super::*;

#[test]
fn headers_to_set_are_checked_and_secrets_are_not_shown() {
    check(
        r#"
[[route]]
[route.set_headers]
Authorization = { value = "Bearer sk-live-1" }
authorization = { env = "NOT_SET_ANYWHERE" }
"x y" = { value = "fine" }
content-length = { value = "7" }
x-api-key = { file = "no/such/file" }
x-good = { env = "OPENAI_API_KEY" }
x-bare = "sk-live-2"
x-many = { value = "sk-live-3", env = "A" }
x-none = {}
x-odd = { valeu = "hunter2hunter2" }
x-number = { value = 123456789 }
x-env = { env = "sk-live-4" }
x-break = { value = "a\nb-sk-live-5" }

[[route]]
set_haeders = { authorization = { literal_secret = "hunter2hunter2" } }
"#,
        &expect![[r#"
            rehearsal.toml:4:19: `Authorization` holds a secret, which does not belong in this file
              |
            4 | Authorization = { value = … }
              |                   ^^^^^
              = write `{ env = "NAME" }` or `{ file = "path" }`
              = or `{ literal_secret = "…" }` where it has to stand here

            rehearsal.toml:5:1: `authorization` and `Authorization` are the same header
              |
            5 | authorization = { env = "NOT_SET_ANYWHERE" }
              | ^^^^^^^^^^^^^

            rehearsal.toml:5:25: no value for the header `authorization`: the environment variable `NOT_SET_ANYWHERE` is not set
              |
            5 | authorization = { env = "NOT_SET_ANYWHERE" }
              |                         ^^^^^^^^^^^^^^^^^^

            rehearsal.toml:6:1: `x y` is not a header name
              |
            6 | "x y" = { value = … }
              | ^^^^^

            rehearsal.toml:7:1: `content-length` belongs to one connection, and the proxy sets it itself
              |
            7 | content-length = { value = "7" }
              | ^^^^^^^^^^^^^^

            rehearsal.toml:8:22: no value for the header `x-api-key`: can't read `no/such/file`: No such file or directory (os error 2)
              |
            8 | x-api-key = { file = "no/such/file" }
              |                      ^^^^^^^^^^^^^^

            rehearsal.toml:10:10: a bare text is not taken here
               |
            10 | x-bare = …
               |          ^
               = expected `{ env = "NAME" }`, `{ file = "path" }`, `{ value = "text" }`

            rehearsal.toml:11:10: the value comes from two places
               |
            11 | x-many = { value = …, env = "A" }
               |          ^^^^^^^^^^^^^^^^^^^^^^^^
               = expected one of `{ env = "NAME" }`, `{ file = "path" }`, `{ value = "text" }`

            rehearsal.toml:12:10: nothing says where the value comes from
               |
            12 | x-none = {}
               |          ^^
               = expected `{ env = "NAME" }`, `{ file = "path" }`, `{ value = "text" }`

            rehearsal.toml:13:11: `valeu` is not one of the choices
               |
            13 | x-odd = { valeu = … }
               |           ^^^^^
               = did you mean `value`?
               = expected one of `env`, `file`, `value`, `literal_secret`

            rehearsal.toml:14:22: invalid type: integer `…`
               |
            14 | x-number = { value = … }
               |                      ^
               = expected a text in quotes

            rehearsal.toml:15:17: no value for the header `x-env`: this is not the name of an environment variable
               |
            15 | x-env = { env = … }
               |                 ^
               = expected letters, digits and `_`

            rehearsal.toml:16:21: no value for the header `x-break`: the value is empty or holds a control character, which a header can't
               |
            16 | x-break = { value = … }
               |                     ^

            rehearsal.toml:19:1: unknown key `set_haeders`
               |
            19 | set_haeders = { authorization = { literal_secret = … } }
               | ^^^^^^^^^^^
               = did you mean `set_headers`?"#]],
    );
}

#[test]
fn the_password_of_an_upstream_is_not_shown() {
    for upstream in [
        "http://user:hunter2@host",
        "user:hunter2@host",
        "http://user:hunter2@host/?a=1",
        "http://hunter2@host",
        "http://user:hunt/er2@host",
    ] {
        for end in ["", "\nmode = oops"] {
            let file = format!("[[route]]\nupstream = \"{upstream}\"{end}\n");
            let error = parse(&file).unwrap_err().to_string();
            assert!(!error.contains("er2"), "{error}");
            assert!(
                error.contains("`set_headers`") || !end.is_empty(),
                "{error}"
            );
        }
    }
}
