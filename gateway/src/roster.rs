//! Every service. This is the only list of them in Rust: all others are made of it.

use blocks::Mode;
use blocks::config::AnySetting;
use service::Definition;

/// In the order in which they are documented.
pub static ROSTER: &[&Definition] = &[
    &auth::DEFINITION,
    &user_profile::DEFINITION,
    &posts::DEFINITION,
    &feed_generator::DEFINITION,
    &notification::DEFINITION,
];

/// A line a method of each route.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str, &'static str, Mode)> {
    ROSTER.iter().flat_map(|of| {
        of.routes.iter().flat_map(|route| {
            let methods = route.methods.iter();
            methods.map(|method| (of.name, *method, route.path, route.mode))
        })
    })
}

/// The name of `mode` in tables, and of its middleware.
pub fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Required => "required",
        Mode::Optional => "optional",
        Mode::Strip => "strip",
    }
}

/// The settings that `rookery` reads: of the process, of all services, and of their fleet.
pub fn settings() -> Vec<&'static dyn AnySetting> {
    let mut all = service::of_all(ROSTER);
    all.push(&service::settings::OPERATOR_SERVICES);
    all
}
