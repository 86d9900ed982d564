//! Which certificate a client is shown, by the name that it asks for (SNI, RFC 6066, 3).

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// Certificates by name.
#[derive(Debug)]
pub(super) struct Names {
    default: Arc<CertifiedKey>,
    /// Names in lower case; those of `wildcards` without their `*`.
    exact: HashMap<String, Arc<CertifiedKey>>,
    wildcards: HashMap<String, Arc<CertifiedKey>>,
}

impl Names {
    pub fn new(default: Arc<CertifiedKey>) -> Self {
        Self { default, exact: HashMap::new(), wildcards: HashMap::new() }
    }

    /// The first certificate that has a name keeps it.
    pub fn add(&mut self, name: &str, key: &Arc<CertifiedKey>) {
        match name.strip_prefix('*') {
            Some(rest) => self.wildcards.entry(rest.to_owned()).or_insert_with(|| key.clone()),
            None => self.exact.entry(name.to_owned()).or_insert_with(|| key.clone()),
        };
    }

    /// `*` stands for exactly one label (RFC 6125, 6.4.3).
    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let parent = name.find('.').map(|dot| &name[dot..]);
        let wild = || self.wildcards.get(parent?);
        self.exact.get(&name).or_else(wild).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(hello.server_name().map_or(&self.default, |name| self.find(name)).clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    #[test]
    fn the_exact_name_then_the_wildcard_of_one_label_then_the_default() {
        let key = || {
            let made = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
            Arc::new(CertifiedKey::from_der(vec![made.cert.der().clone()], key, &ring::default_provider()).unwrap())
        };
        let [default, first, second, wild] = [(); 4].map(|()| key());
        let mut names = Names::new(default.clone());
        names.add("a.example", &first);
        names.add("a.example", &second);
        names.add("*.example", &wild);
        let is = |name: &str, expected: &Arc<CertifiedKey>| assert!(Arc::ptr_eq(names.find(name), expected), "{name}");
        is("a.example", &first);
        is("A.Example", &first);
        is("b.example", &wild);
        is("c.b.example", &default);
        is("example", &default);
        is("", &default);
    }
}
