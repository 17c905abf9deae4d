//! The route table as Traefik's dynamic configuration: one router a path and mode, so that the fleet
//! lets through what one process lets through. `traefik/dynamic/routes.yml` is this text.
//!
//! | a route that | gets the middlewares |
//! |---|---|
//! | is `required`, `optional` or `strip` | of that name |
//! | only reads | `reads`: may be sent once more when a service can't be reached |
//! | lets strangers write (`strip`: login, register) | `strangers`, and the service by way of the door |
//! | lets strangers write, and others as whom they are (`optional`) | `optional-few` |
//!
//! The door lets fewer requests a second pass from one address. It is asked first and its answer thrown
//! away when that is the door's 418; only then the service is asked. So Traefik's own 429 and that of
//! a service, which counts wrong passwords, never go through the same middlewares: they could not be
//! told apart there ([ADR 23](../../docs/adr/023-which-errors-are-traefiks.md)).
//!
//! A method that no route takes goes to the service as well, without identity: it answers 405.

use blocks::{Mode, Route};
use service::Definition;

use crate::roster::mode_name;

const HEAD: &str = "\
# Made by `rookery generate` of the services' routes: do not edit. The middlewares are in middlewares.yml.
http:
  routers:
";

/// The largest body of a stranger's request: Traefik holds it in memory while it asks at the door.
const STRANGERS_BYTES: u32 = 65_536;

/// A path without parameters wins over one with: it is more of a match.
const EXACT: u32 = 300;
const WITH_PARAMETERS: u32 = 200;
const OTHER_METHODS: u32 = 100;

/// The routers of `services`, as YAML.
pub fn routers(services: &[&Definition]) -> String {
    let mut text = HEAD.to_owned();
    let mut doors = String::new();
    for of in services {
        let (service, mut rules) = (of.name, Vec::new());
        for ((path, mode, reads), methods) in groups(of.routes) {
            let rule = matcher(path);
            if !rules.contains(&rule) {
                rules.push(rule.clone());
            }
            let title = format!("{} {path}", methods.join(" "));
            let head = reads.then_some("HEAD");
            let methods = methods.into_iter().chain(head);
            let methods: Vec<String> = methods
                .map(|method| format!("Method(`{method}`)"))
                .collect();
            let rule = format!("({}) && {rule}", methods.join(" || "));
            let priority = if path.contains('{') {
                WITH_PARAMETERS
            } else {
                EXACT
            };
            let name = mode_name(mode);
            let (behind, middlewares) = match mode {
                _ if reads => (service.to_owned(), format!("{name}, reads")),
                Mode::Strip => (format!("{service}-for-strangers"), "strangers".to_owned()),
                Mode::Optional => (service.to_owned(), "optional-few".to_owned()),
                Mode::Required => (service.to_owned(), name.to_owned()),
            };
            if behind != service && !doors.contains(&behind) {
                doors += &door(service);
            }
            text += &router(service, &title, &rule, &behind, &middlewares, priority);
        }
        if !rules.is_empty() {
            let (title, rule) = (format!("other methods of {service}"), rules.join(" || "));
            let middlewares = mode_name(Mode::Strip);
            text += &router(service, &title, &rule, service, middlewares, OTHER_METHODS);
        }
    }
    if !doors.is_empty() {
        text += "  services:\n";
        text += &doors;
    }
    text
}

/// `service` as strangers reach it.
fn door(service: &str) -> String {
    format!(
        "    {service}-for-strangers:\n      \
           failover:\n        \
             service: door\n        \
             fallback: {service}\n        \
             errors:\n          \
               status: [\"418\"]\n          \
               maxRequestBodyBytes: {STRANGERS_BYTES}\n",
    )
}

/// A path, its mode, and whether it is read.
type Group = (&'static str, Mode, bool);

/// The methods of each path that are treated alike, in the order of the table.
fn groups(routes: &[Route]) -> Vec<(Group, Vec<&'static str>)> {
    let mut groups: Vec<(Group, Vec<&str>)> = Vec::new();
    for route in routes {
        for method in route.methods {
            let group = (route.path, route.mode, *method == "GET");
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, methods)) => methods.push(method),
                None => groups.push((group, vec![method])),
            }
        }
    }
    groups
}

/// The router `title` of the service `owner`, which is reached as `service`.
fn router(
    owner: &str,
    title: &str,
    rule: &str,
    service: &str,
    middlewares: &str,
    priority: u32,
) -> String {
    format!(
        "    # {title}\n    \
         {key}:\n      \
           rule: \"{rule}\"\n      \
           service: {service}\n      \
           middlewares: [{middlewares}]\n      \
           priority: {priority}\n",
        key = key(owner, title),
    )
}

/// A name of the owner and the match: `posts-get-api-posts-id`.
fn key(service: &str, title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    format!("{service}-{}", words.join("-"))
}

/// A rule that matches `path` as the services do: a parameter is one segment, a slash at the end is fine.
fn matcher(path: &str) -> String {
    let Some(parameter) = path.find('{') else {
        return format!("(Path(`{path}`) || Path(`{path}/`))");
    };
    let segments: Vec<String> = path
        .split('/')
        .map(|segment| {
            if segment.starts_with('{') {
                "[^/]+".to_owned()
            } else {
                segment.replace('.', "[.]")
            }
        })
        .collect();
    // The prefix costs next to nothing and keeps the expression from being tried on every request.
    format!(
        "(PathPrefix(`{}`) && PathRegexp(`^{}/?$`))",
        &path[..parameter],
        segments.join("/")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &[Route] = &[
        Route::required(&["GET", "PUT"], "/api/things/{id}"),
        Route::strip(&["POST"], "/api/login"),
        Route::strip(&["GET"], "/.well-known/keys.json"),
    ];
    static THINGS: Definition = Definition {
        name: "things",
        routes: ROUTES,
        ..Definition::new(|_| unreachable!("nothing is opened"))
    };

    #[test]
    fn reads_and_writes_of_a_path_are_routers_of_their_own_and_other_methods_reach_the_service() {
        let text = routers(&[&THINGS]);
        let routers = text.strip_prefix(HEAD).unwrap();
        assert_eq!(
            routers,
            "    # GET /api/things/{id}
    things-get-api-things-id:
      rule: \"(Method(`GET`) || Method(`HEAD`)) && (PathPrefix(`/api/things/`) && PathRegexp(`^/api/things/[^/]+/?$`))\"
      service: things
      middlewares: [required, reads]
      priority: 200
    # PUT /api/things/{id}
    things-put-api-things-id:
      rule: \"(Method(`PUT`)) && (PathPrefix(`/api/things/`) && PathRegexp(`^/api/things/[^/]+/?$`))\"
      service: things
      middlewares: [required]
      priority: 200
    # POST /api/login
    things-post-api-login:
      rule: \"(Method(`POST`)) && (Path(`/api/login`) || Path(`/api/login/`))\"
      service: things-for-strangers
      middlewares: [strangers]
      priority: 300
    # GET /.well-known/keys.json
    things-get-well-known-keys-json:
      rule: \"(Method(`GET`) || Method(`HEAD`)) && (Path(`/.well-known/keys.json`) || Path(`/.well-known/keys.json/`))\"
      service: things
      middlewares: [strip, reads]
      priority: 300
    # other methods of things
    things-other-methods-of-things:
      rule: \"(PathPrefix(`/api/things/`) && PathRegexp(`^/api/things/[^/]+/?$`)) || (Path(`/api/login`) || Path(`/api/login/`)) || (Path(`/.well-known/keys.json`) || Path(`/.well-known/keys.json/`))\"
      service: things
      middlewares: [strip]
      priority: 100
  services:
    things-for-strangers:
      failover:
        service: door
        fallback: things
        errors:
          status: [\"418\"]
          maxRequestBodyBytes: 65536
"
        );
    }

    #[test]
    fn the_names_of_the_routers_are_all_different() {
        let text = routers(crate::roster::ROSTER);
        let mut names: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("    ") && !line.starts_with("     "))
            .filter(|line| line.ends_with(':'))
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert!(all > 20 && names.len() == all, "{names:?}");
    }
}
