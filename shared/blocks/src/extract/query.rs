//! Query parameters, parsed and checked.

use std::borrow::Cow;
use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::{FieldErrors, Problem};

/// The query as a `T`. A wrong type, a missing or doubled parameter, invalid UTF-8 or a NUL is 400
/// `validation_failed`, naming the parameter. Parameters that `T` does not read are ignored, as a page may
/// be read from the same query. The route table refuses those that the endpoint's documentation does not
/// name (see [`crate::gateway::Table`]).
#[derive(Debug, Clone, Copy)]
pub struct ValidQuery<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ValidQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    // The parser below replaces invalid UTF-8 and keeps the last of two values: both are refused first.
    parameters(query)?;
    let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let message = error.inner().to_string();
        let field = super::field(error.path(), &message, "query");
        Problem::validation(FieldErrors::one(&field, super::plain(&message)))
    })
}

/// A name and a value.
type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The parameters of a query, decoded.
pub(crate) fn parameters(query: &str) -> Result<Vec<Parameter<'_>>, FieldErrors> {
    let mut names = BTreeSet::new();
    let mut parameters = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).map_err(|why| FieldErrors::one("query", why))?;
        let value = decode(value).map_err(|why| FieldErrors::one(&name, why))?;
        if !names.insert(name.clone()) {
            return Err(FieldErrors::one(&name, "is given twice"));
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

fn decode(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let decoded = if text.contains('+') {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced)
            .decode_utf8()
            .map(|text| Cow::Owned(text.into_owned()))
    } else {
        percent_encoding::percent_decode_str(text).decode_utf8()
    };
    match decoded {
        Ok(text) if text.contains('\0') => Err("must not contain a NUL character"),
        Ok(text) => Ok(text),
        Err(_) => Err("is not UTF-8"),
    }
}
