//! The route table: the rules in `Service.routes`, checked against the services' documentation.

use std::collections::HashMap;

use axum::extract::MatchedPath;
use http::Method;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{OpenApi, PathItem, RefOr};

use crate::{FieldErrors, Mode, Route, Service, extract};

/// The reason why a table can't be made: a mistake in a service, found before the first request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service}: {method} {path} {mistake}")]
pub struct TableError {
    service: String,
    method: String,
    path: String,
    pub(super) mistake: Mistake,
}

/// The fault in a service's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mistake {
    /// An endpoint nobody decided about.
    #[error("has no route: add it to ROUTES with its mode")]
    NoRoute,
    /// A decision about nothing.
    #[error("is a route and no endpoint")]
    NoEndpoint,
    /// Two decisions about one endpoint.
    #[error("has two routes")]
    Twice,
}

/// The rule of every route.
#[derive(Debug, Default)]
pub struct Table(HashMap<String, Vec<Rule>>);

/// A route's rule: who may pass, and its query parameters.
#[derive(Debug)]
pub(crate) struct Rule {
    method: Method,
    pub mode: Mode,
    /// The query parameters of the endpoint, as its documentation has them; `None` if it takes any.
    parameters: Option<Vec<String>>,
}

impl Rule {
    /// Refuses a query with parameters that the endpoint does not take, naming each.
    pub fn check_query(&self, query: Option<&str>) -> Result<(), FieldErrors> {
        let Some(parameters) = &self.parameters else {
            return Ok(());
        };
        let query = query.unwrap_or_default();
        let knows = |name: &str| parameters.iter().any(|known| known == name);
        let mut names = query.split('&').filter(|pair| !pair.is_empty());
        // As nearly all are spelled, without decoding.
        if names.all(|pair| pair.split('=').next().is_some_and(knows)) {
            return Ok(());
        }
        let mut errors = FieldErrors::default();
        for (name, _) in extract::parameters(query)? {
            if !knows(&name) {
                errors.add(&name, extract::unknown(parameters));
            }
        }
        errors.into_result()
    }
}

impl Table {
    /// The table of `services`.
    ///
    /// # Errors
    /// When an endpoint has no route, a route no endpoint, or one has two.
    pub fn of<'a>(services: impl IntoIterator<Item = &'a Service>) -> Result<Self, TableError> {
        let mut table = Self::default();
        for service in services {
            table.add(service.name, service.routes, service.router.get_openapi())?;
        }
        Ok(table)
    }

    fn add(&mut self, service: &str, routes: &[Route], api: &OpenApi) -> Result<(), TableError> {
        let wrong = |method: &str, path: &str, mistake| TableError {
            service: service.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            mistake,
        };
        let paths = api.paths.paths.iter();
        let endpoints = paths.flat_map(|(path, item)| {
            operations(item).map(move |(method, operation)| (method, canonical(path), operation))
        });
        let mut endpoints: Vec<(Method, &str, &Operation)> = endpoints.collect();
        for route in routes {
            let path = canonical(route.path);
            for &name in route.methods {
                let rules = self.0.entry(path.to_owned()).or_default();
                if rules.iter().any(|rule| rule.method == name) {
                    return Err(wrong(name, route.path, Mistake::Twice));
                }
                let is_it = |(method, at, _): &(Method, _, _)| method == name && *at == path;
                let Some(found) = endpoints.iter().position(is_it) else {
                    return Err(wrong(name, route.path, Mistake::NoEndpoint));
                };
                let (method, _, operation) = endpoints.swap_remove(found);
                rules.push(Rule {
                    method,
                    mode: route.mode,
                    parameters: parameters(operation),
                });
            }
        }
        let left = endpoints
            .first()
            .map(|(method, path, _)| Err(wrong(method.as_str(), path, Mistake::NoRoute)));
        left.unwrap_or(Ok(()))
    }

    /// The mode for `method` on `path`, which is written as in the route; `HEAD` counts as `GET`.
    pub fn mode(&self, path: &str, method: &Method) -> Option<Mode> {
        self.rule(path, method).map(|rule| rule.mode)
    }

    /// The rule for `method` on the route that was found.
    pub(crate) fn matched(&self, path: Option<&MatchedPath>, method: &Method) -> Option<&Rule> {
        self.rule(path?.as_str(), method)
    }

    fn rule(&self, path: &str, method: &Method) -> Option<&Rule> {
        let rules = self.0.get(canonical(path))?;
        let covers = |of: &Method| of == method || (of == Method::GET && method == Method::HEAD);
        rules.iter().find(|rule| covers(&rule.method))
    }
}

/// `/path` and `/path/` are one route.
fn canonical(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(shorter) => shorter,
    }
}

fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    [
        (&item.get, Method::GET),
        (&item.post, Method::POST),
        (&item.put, Method::PUT),
        (&item.delete, Method::DELETE),
        (&item.patch, Method::PATCH),
        (&item.options, Method::OPTIONS),
        (&item.trace, Method::TRACE),
    ]
    .into_iter()
    .filter_map(|(operation, method)| Some((method, operation.as_ref()?)))
}

/// The query parameters of `operation`; `None` with an exploded one, whose fields are parameters of any name.
fn parameters(operation: &Operation) -> Option<Vec<String>> {
    let all = operation.parameters.iter().flatten();
    let of_query = all.filter_map(|parameter| match parameter {
        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => Some(parameter),
        _ => None,
    });
    let name = |of: &Parameter| (of.explode != Some(true)).then(|| of.name.clone());
    of_query.map(name).collect()
}
