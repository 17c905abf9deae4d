//! TLS: rustls over ring, and the authorities that are trusted.
//!
//! These are Mozilla's, compiled in: the images have no file of them. A site adds its own by a setting.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// TLS that trusts the authorities in the PEM file `extra`, too.
pub(crate) fn config(extra: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = extra {
        let wrong = |why: String| format!("{}: {why}", path.display());
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|why| wrong(why.to_string()))?;
        let before = roots.len();
        for certificate in certificates {
            let certificate = certificate.map_err(|why| wrong(why.to_string()))?;
            roots
                .add(certificate)
                .map_err(|why| wrong(why.to_string()))?;
        }
        if roots.len() == before {
            return Err(wrong("there is no certificate in it".into()));
        }
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
