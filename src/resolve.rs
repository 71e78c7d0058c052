//! Names to addresses, remembered for a short while.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::origin::Origin;

/// What the system's resolver said lately. Bounded by the number of upstreams in the config.
#[derive(Default)]
pub(crate) struct Resolver {
    known: Mutex<HashMap<(String, u16), Known>>,
}

struct Known {
    until: Instant,
    addresses: Vec<SocketAddr>,
}

impl Resolver {
    /// The addresses of an upstream, the one that answered last first.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn resolve(&self, origin: &Origin) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = origin.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, origin.port)]);
        }
        let key = (origin.host.clone(), origin.port);
        if let Some(known) = self.lock().get(&key)
            && known.until > Instant::now()
        {
            return Ok(known.addresses.clone());
        }
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((origin.host.as_str(), origin.port))
                .await
                .map_err(|error| error.to_string())?
                .collect();
        if addresses.is_empty() {
            return Err("it has no address".to_owned());
        }
        self.lock().insert(
            key,
            Known {
                until: Instant::now() + KNOWN_FOR,
                addresses: addresses.clone(),
            },
        );
        Ok(addresses)
    }

    /// Puts the address that answered first.
    pub(crate) fn prefer(&self, origin: &Origin, address: SocketAddr) {
        if let Some(known) = self.lock().get_mut(&(origin.host.clone(), origin.port))
            && let Some(position) = known.addresses.iter().position(|have| *have == address)
        {
            known.addresses.swap(0, position);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, u16), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Short enough to follow a service that moves, long enough to keep the resolver off the request path.
const KNOWN_FOR: Duration = Duration::from_secs(10);
