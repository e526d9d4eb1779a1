//! The gateways of a binding, by id.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::binding::OpenError;
use super::super::gateway::{Cache, GatewayError, RateLimit, check_gateway_id};
use super::super::options::{AiOptions, GatewayOptions};

/// A gateway: its rules, and what it has of its requests.
pub(in crate::ai) struct Gateway {
    pub(in crate::ai) options: GatewayOptions,
    pub(in crate::ai) cache: Arc<Cache>,
    pub(in crate::ai) limit: RateLimit,
}

/// All of a binding's.
pub(super) struct Gateways {
    known: HashMap<String, Arc<Gateway>>,
    /// The cache of those that exist because somebody named them; `None` when only those exist that are configured.
    shared: Option<Arc<Cache>>,
}

impl Gateways {
    pub(super) fn new(options: &AiOptions) -> Result<Self, OpenError> {
        let mut known = HashMap::new();
        for gateway in &options.gateways {
            let id = gateway.id.clone();
            let checked = check_gateway_id(&id);
            checked.map_err(|error| OpenError::Options(error.message))?;
            let opened = Gateway::new(gateway.clone(), None);
            if known.insert(id, Arc::new(opened)).is_some() {
                let text = format!("two gateways have the id {:?}", gateway.id);
                return Err(OpenError::Options(text));
            }
        }
        let shared = known.is_empty().then(|| {
            let bytes = GatewayOptions::new("").max_cache_bytes;
            Arc::new(Cache::new(bytes))
        });
        Ok(Self { known, shared })
    }

    /// The gateway of this id.
    pub(super) fn get(&self, id: &str) -> Result<Arc<Gateway>, GatewayError> {
        if let Some(gateway) = self.known.get(id) {
            return Ok(Arc::clone(gateway));
        }
        match &self.shared {
            Some(cache) => {
                let options = GatewayOptions::new(check_gateway_id(id)?);
                Ok(Arc::new(Gateway::new(options, Some(Arc::clone(cache)))))
            }
            None => {
                let mut known: Vec<&str> = self.known.keys().map(String::as_str).collect();
                known.sort_unstable();
                Err(GatewayError::unknown_gateway(id, &known))
            }
        }
    }
}

impl Gateway {
    fn new(options: GatewayOptions, cache: Option<Arc<Cache>>) -> Self {
        Self {
            cache: cache.unwrap_or_else(|| Arc::new(Cache::new(options.max_cache_bytes))),
            limit: RateLimit::new(&options),
            options,
        }
    }
}
