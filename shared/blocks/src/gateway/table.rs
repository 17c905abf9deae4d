//! The route table: what `Service.routes` say, checked against what the services document.

use std::collections::HashMap;

use http::Method;
use utoipa::openapi::{OpenApi, PathItem};

use crate::{Mode, Route, Service};

/// Why a table can't be made. Each is a mistake in a service, found before the first request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// An endpoint nobody decided about.
    #[error("{service}: {method} {path} has no route: add it to ROUTES with its mode")]
    NoRoute {
        /// Whose.
        service: String,
        /// As it is written in the documentation.
        method: String,
        /// As it is written in the documentation.
        path: String,
    },
    /// A decision about nothing.
    #[error("{service}: the route {method} {path} has no endpoint")]
    NoEndpoint {
        /// Whose.
        service: String,
        /// As it is written in the route.
        method: String,
        /// As it is written in the route.
        path: String,
    },
    /// Two decisions.
    #[error("{service}: {method} {path} has two routes")]
    Twice {
        /// Whose is the second.
        service: String,
        /// As it is written in the route.
        method: String,
        /// As it is written in the route.
        path: String,
    },
    /// A method HTTP does not have.
    #[error("{service}: {method:?} of {path} is no method")]
    NoMethod {
        /// Whose.
        service: String,
        /// As it is written in the route.
        method: String,
        /// As it is written in the route.
        path: String,
    },
}

/// The mode of every route.
#[derive(Debug, Default)]
pub struct Table(HashMap<String, Vec<(Method, Mode)>>);

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
        let mut endpoints: Vec<(Method, &str)> = api
            .paths
            .paths
            .iter()
            .flat_map(|(path, item)| methods(item).map(move |method| (method, canonical(path))))
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
                let before = endpoints.len();
                endpoints.retain(|endpoint| *endpoint != (method.clone(), path));
                if endpoints.len() == before {
                    let (service, method, path) = named();
                    return Err(TableError::NoEndpoint {
                        service,
                        method,
                        path,
                    });
                }
                self.0
                    .entry(path.to_owned())
                    .or_default()
                    .push((method.clone(), route.mode));
            }
        }
        match endpoints.first() {
            None => Ok(()),
            Some((method, path)) => Err(TableError::NoRoute {
                service: service.to_owned(),
                method: method.to_string(),
                path: (*path).to_owned(),
            }),
        }
    }

    /// The mode for `method` on `path`, which is written as in the route; `HEAD` counts as `GET`.
    pub fn mode(&self, path: &str, method: &Method) -> Option<Mode> {
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let rules = self.0.get(canonical(path))?;
        rules
            .iter()
            .find(|(known, _)| known == method)
            .map(|(_, mode)| *mode)
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

fn methods(item: &PathItem) -> impl Iterator<Item = Method> {
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
    .filter_map(|(operation, method)| operation.as_ref().map(|_| method))
}
