//! The client of a server, by its URL.

use blocks::error::BoxError;
use percent_encoding::percent_decode_str;
use redis::{Client, ClientTlsConfig, TlsCertificates};

/// A client of the server of `url`, which need not be up yet. A `rediss://` URL also names the files in PEM that TLS
/// takes, as other clients call them: `ssl_ca_certs`, and for a server that wants a certificate `ssl_certfile` and
/// `ssl_keyfile`. Without the first it is whoever the system trusts.
///
/// # Errors
/// When the URL is malformed, or a file can't be read.
pub fn client(url: &str) -> Result<Client, BoxError> {
    let (server, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut authority, mut certificate, mut key, mut rest) = (None, None, None, Vec::new());
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let file = match name {
            "ssl_ca_certs" => &mut authority,
            "ssl_certfile" => &mut certificate,
            "ssl_keyfile" => &mut key,
            _ => {
                rest.push(parameter);
                continue;
            }
        };
        let path = percent_decode_str(value).decode_utf8()?;
        let read = std::fs::read(&*path);
        *file = Some(read.map_err(|why| format!("{name} is {path}, which can't be read: {why}"))?);
    }
    let server = match &rest[..] {
        [] => server.to_owned(),
        rest => format!("{server}?{}", rest.join("&")),
    };
    if authority.is_none() && certificate.is_none() && key.is_none() {
        return Ok(Client::open(server)?);
    }
    if !server.starts_with("rediss://") {
        return Err("files for TLS go with a rediss:// URL".into());
    }
    if certificate.is_some() != key.is_some() {
        return Err("ssl_certfile and ssl_keyfile go together: one is not there".into());
    }
    let own = certificate.zip(key);
    let files = TlsCertificates {
        client_tls: own.map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        }),
        root_cert: authority,
    };
    Ok(Client::build_with_tls(server, files)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_of_rediss_urls_and_what_is_wrong_is_said_without_the_password() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        client("redis://:hunter2@db:6379/1?protocol=resp3").unwrap();
        for (url, wrong) in [
            (
                format!("redis://:hunter2@db?ssl_ca_certs={file}"),
                "rediss://",
            ),
            (
                format!("rediss://:hunter2@db?ssl_keyfile={file}"),
                "go together",
            ),
            (
                "rediss://:hunter2@db?ssl_ca_certs=/no/file".to_owned(),
                "ssl_ca_certs is /no/file",
            ),
        ] {
            let said = client(&url).err().unwrap().to_string();
            assert!(said.contains(wrong) && !said.contains("hunter2"), "{said}");
        }
    }
}
