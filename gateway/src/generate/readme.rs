//! The README of a service: what it is to others, and how it is run alone.

use service::Definition;
use utoipa::openapi::OpenApi;

use super::tables::{endpoints, kept_in, settings};

/// The text of `services/NAME/README.md`.
pub(super) fn text(of: &Definition, openapi: &OpenApi) -> String {
    let (name, about, variable) = (of.name, of.about, of.variable());
    let kept = kept_in(of);
    let used = of.uses.iter().map(|server| server.url().name);
    let used = used.map(|url| format!("\n| uses | the server of `{url}`, where it is named |"));
    let used = used.collect::<String>();
    let publishes = listed(of.publishes);
    let topics = listed(of.topics.iter().map(|topic| &topic.name));
    let consumes = listed(of.consumes.iter().map(|topic| &topic.name));
    let endpoints = endpoints(openapi, |route| route == name);
    let settings = match of.settings {
        [] => "It has none of its own.".to_owned(),
        own => settings(own),
    };
    let strong = of.settings.iter().filter(|setting| setting.is_strong());
    let keys = strong.map(|setting| {
        let key = setting.name();
        let file = key.trim_end_matches("_KEY").to_lowercase();
        format!("{key}=$(cat target/stack/{file}.key) ")
    });
    let keys = keys.collect::<Vec<_>>().concat();
    format!(
        "<!-- Made by `rookery generate` of the definition in src/lib.rs: do not edit. -->
# {name}

{about}

| | |
|---|---|
| keeps its state in | {kept}; in one process a SQLite file |{used}
| publishes | {publishes}, to {topics} |
| consumes | {consumes} |

## Endpoints

{endpoints}

[docs/openapi.json](../../docs/openapi.json) has their bodies and answers.

## Settings

{settings}

Those of every process are in the [README](../../README.md), those of every service of a fleet in
[docs/fleet.md](../../docs/fleet.md#settings).

## Run it alone

In the place of the one in a fleet on this machine, which has the servers that it needs:

```sh
scripts/stack up
scripts/stack stop {name}
set -a && eval \"$(scripts/stack env)\" && set +a
{keys}PORT=${{{variable}_URL##*:}} cargo run -p {name} --features fleet
```
"
    )
}

fn listed<'a>(names: impl IntoIterator<Item = &'a &'static str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match &names[..] {
        [] => "nothing".to_owned(),
        _ => names.join(", "),
    }
}
