//! What is wrong with the listeners.

use super::Finding;
use crate::certificate::Certificate;
use crate::config::{Address, Config, Given, Way};

/// Adds to `found` what is wrong with the listeners.
pub(super) fn check(config: &Config, given: &Given, found: &mut Vec<Finding>) {
    check_tls(config, found);
    check_places(config, given, found);
    check_admin(config, found);
    if matches!(&config.listen.handover, Some(path) if path.as_os_str().is_empty()) {
        let way = Way::to(&["listen", "handover"]);
        found.push(Finding::at(way, "the path of the socket is empty"));
    }
}

fn check_tls(config: &Config, found: &mut Vec<Finding>) {
    let way = |keys: &[&str]| Way::to(&["listen"]).then(keys);
    match (&config.listen.https, &config.listen.tls) {
        (None, None) => {}
        (Some(_), None) => found.push(
            Finding::at_key(way(&["https"]), "`https` has no certificate to show")
                .hint("add `tls = { cert = \"server.pem\", key = \"server.key\" }`")
                .relying_on([way(&[])]),
        ),
        (None, Some(_)) => found.push(
            Finding::at_key(way(&["tls"]), "no listener shows this certificate")
                .hint("add `https = \"127.0.0.1:8443\"`")
                .relying_on([way(&[])]),
        ),
        (Some(_), Some(tls)) => {
            if let Err(error) = Certificate::load(tls, &config.folder) {
                let key = if error.is_about_key() { "key" } else { "cert" };
                found.push(Finding::at(way(&["tls", key]), error.to_string()));
            }
        }
    }
}

/// That no two listeners want the same place.
fn check_places(config: &Config, given: &Given, found: &mut Vec<Finding>) {
    let listen = &config.listen;
    let called = |key: &'static str| given.flag(&Way::to(&["listen", key])).unwrap_or(key);
    let mut before = vec![("http", &listen.http)];
    let others = [("https", &listen.https), ("admin", &listen.admin)];
    for (key, address) in others {
        let Some(address) = address else { continue };
        let taken = before.iter().find(|(_, other)| address.is_taken_by(other));
        if let Some((other, place)) = taken {
            let what = format!(
                "`{}` can't listen at {address}: `{}` listens at {place}",
                called(key),
                called(other)
            );
            found.push(
                Finding::at(Way::to(&["listen", key]), what)
                    .hint("expected another port, or 0 for any that is free")
                    .relying_on([Way::to(&["listen"])]),
            );
        }
        before.push((key, address));
    }
}

fn check_admin(config: &Config, found: &mut Vec<Finding>) {
    for (index, host) in config.listen.admin_hosts.iter().enumerate() {
        // The port may be missing; with one more behind it, a second is no address.
        let is_host = [host.clone(), format!("{host}:0")]
            .iter()
            .any(|text| text.parse::<Address>().is_ok());
        if !is_host {
            let what = format!("`{host}` is not a host");
            found.push(
                Finding::at(Way::to(&["listen", "admin_hosts"]).at(index), what).hint(
                    "expected a name or an address, such as `admin.test` or `admin.test:9000`",
                ),
            );
        }
    }
    let Some(address) = &config.listen.admin else {
        let idle = [
            ("admin_remote", config.listen.admin_remote),
            ("admin_hosts", !config.listen.admin_hosts.is_empty()),
        ];
        for (key, _) in idle.into_iter().filter(|(_, is_set)| *is_set) {
            let what = format!("`{key}` has no effect, because there is no `admin` to listen for");
            found.push(
                Finding::at_key(Way::to(&["listen", key]), what)
                    .hint("add `admin = \"127.0.0.1:8081\"`, or take it out")
                    .relying_on([Way::to(&["listen"])]),
            );
        }
        return;
    };
    if !(config.listen.admin_remote || address.is_loopback()) {
        let what = format!("`{address}` may be reached from other machines");
        found.push(
            Finding::at(Way::to(&["listen", "admin"]), what)
                .hint("expected this machine's own, such as `127.0.0.1:8081`")
                .hint("if others are meant to reach it, set `admin_remote = true` in `[listen]`")
                .relying_on([Way::to(&["listen"])]),
        );
    }
}
