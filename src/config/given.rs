//! What was given besides the file, and stands in the place of what it says.

use super::{Address, Config, Way};

/// Flags, or the variables that stand for them.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--listen`
    pub http: Option<Address>,
    /// `--admin`
    pub admin: Option<Address>,
    /// What further flags became: the way to a value, such as `route[0].tls.ca`, and the flag that it came from.
    pub others: &'static [(&'static str, &'static str)],
}

impl Given {
    /// Puts it into a configuration.
    pub(super) fn apply(&self, config: &mut Config) {
        if let Some(http) = &self.http {
            config.listen.http = http.clone();
        }
        if let Some(admin) = &self.admin {
            config.listen.admin = Some(admin.clone());
        }
    }

    /// The flag that said what is at the end of this way.
    pub(super) fn flag(&self, way: &Way) -> Option<&'static str> {
        let way = way.to_string();
        let listeners = [
            ("listen.http", "--listen", self.http.is_some()),
            ("listen.admin", "--admin", self.admin.is_some()),
        ];
        let listeners = listeners
            .into_iter()
            .filter_map(|(at, flag, is_given)| is_given.then_some((at, flag)));
        let mut all = listeners.chain(self.others.iter().copied());
        all.find_map(|(at, flag)| (at == way).then_some(flag))
    }
}
