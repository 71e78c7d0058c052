//! How a route changes paths.

/// How a request's path is changed on its way to the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Taken from the path's beginning, on a segment border only.
    pub strip_prefix: Option<String>,
    /// Put before what is left.
    pub add_prefix: Option<String>,
}

impl Rewrite {
    /// The path for the upstream. A path that does not begin with `strip_prefix` is not stripped.
    pub fn apply(&self, path: &str) -> String {
        // `OPTIONS *` asks for no path at all.
        if !path.starts_with('/') {
            return path.to_owned();
        }
        let mut rest = path;
        if let Some(prefix) = &self.strip_prefix
            && let Some(after) = path.strip_prefix(prefix.trim_end_matches('/'))
            && (after.is_empty() || after.starts_with('/'))
        {
            rest = if after.is_empty() { "/" } else { after };
        }
        match &self.add_prefix {
            Some(prefix) => format!("{}{rest}", prefix.trim_end_matches('/')),
            None => rest.to_owned(),
        }
    }
}
