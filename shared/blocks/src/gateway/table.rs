//! The route table: the rules in `Service.routes`, checked against the services' documentation.

use std::collections::HashMap;

use axum::extract::MatchedPath;
use http::Method;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, PathItem, RefOr};

use crate::{FieldErrors, Mode, Route, Service, extract};

/// The reason why a table can't be made: a mistake in a service, found before the first request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// An endpoint nobody decided about.
    #[error("{service}: {method} {path} has no route: add it to ROUTES with its mode")]
    NoRoute {
        /// The route's service.
        service: String,
        /// As it is written in the documentation.
        method: String,
        /// As it is written in the documentation.
        path: String,
    },
    /// A decision about nothing.
    #[error("{service}: the route {method} {path} has no endpoint")]
    NoEndpoint {
        /// The route's service.
        service: String,
        /// As it is written in the route.
        method: String,
        /// As it is written in the route.
        path: String,
    },
    /// Two routes for the same method and path.
    #[error("{service}: {method} {path} has two routes")]
    Twice {
        /// The service of the second route.
        service: String,
        /// As it is written in the route.
        method: String,
        /// As it is written in the route.
        path: String,
    },
    /// A method HTTP does not have.
    #[error("{service}: {method:?} of {path} is no method")]
    NoMethod {
        /// The route's service.
        service: String,
        /// As it is written in the route.
        method: String,
        /// As it is written in the route.
        path: String,
    },
}

/// The rule of every route.
#[derive(Debug, Default)]
pub struct Table(HashMap<String, Vec<Rule>>);

/// A route's rule: who may pass, and its query parameters.
#[derive(Debug)]
pub(crate) struct Rule {
    method: Method,
    pub mode: Mode,
    /// The query parameters of the endpoint, as its documentation has them.
    parameters: Vec<String>,
}

impl Rule {
    /// Refuses a query with parameters that the endpoint does not take, naming each.
    pub fn check_query(&self, query: Option<&str>) -> Result<(), FieldErrors> {
        let query = query.unwrap_or_default();
        let knows = |name: &str| self.parameters.iter().any(|known| known == name);
        let mut names = query.split('&').filter(|pair| !pair.is_empty());
        // As nearly all are spelled, without decoding.
        if names.all(|pair| pair.split('=').next().is_some_and(knows)) {
            return Ok(());
        }
        let mut errors = FieldErrors::default();
        for (name, _) in extract::parameters(query)? {
            if !knows(&name) {
                errors.add(&name, extract::unknown(&self.parameters));
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
        let mut endpoints: Vec<(Method, &str, &Operation)> = api
            .paths
            .paths
            .iter()
            .flat_map(|(path, item)| {
                operations(item)
                    .map(move |(method, operation)| (method, canonical(path), operation))
            })
            .collect();
        for route in routes {
            let path = canonical(route.path);
            for &name in route.methods {
                let named = || (service.to_owned(), name.to_owned(), route.path.to_owned());
                let Some(method) = KNOWN.iter().find(|method| method.as_str() == name) else {
                    let (service, method, path) = named();
                    return Err(TableError::NoMethod {
                        service,
                        method,
                        path,
                    });
                };
                if self.mode(path, method).is_some() {
                    let (service, method, path) = named();
                    return Err(TableError::Twice {
                        service,
                        method,
                        path,
                    });
                }
                let found = endpoints
                    .iter()
                    .position(|(of, at, _)| of == method && *at == path);
                let Some(found) = found else {
                    let (service, method, path) = named();
                    return Err(TableError::NoEndpoint {
                        service,
                        method,
                        path,
                    });
                };
                let (method, _, operation) = endpoints.swap_remove(found);
                self.0.entry(path.to_owned()).or_default().push(Rule {
                    method,
                    mode: route.mode,
                    parameters: parameters(operation),
                });
            }
        }
        match endpoints.first() {
            None => Ok(()),
            Some((method, path, _)) => Err(TableError::NoRoute {
                service: service.to_owned(),
                method: method.to_string(),
                path: (*path).to_owned(),
            }),
        }
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
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let rules = self.0.get(canonical(path))?;
        rules.iter().find(|rule| rule.method == method)
    }
}

const KNOWN: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
    Method::TRACE,
];

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

fn parameters(operation: &Operation) -> Vec<String> {
    let all = operation.parameters.iter().flatten();
    let of_query = all.filter_map(|parameter| match parameter {
        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => {
            Some(&parameter.name)
        }
        _ => None,
    });
    of_query.cloned().collect()
}
