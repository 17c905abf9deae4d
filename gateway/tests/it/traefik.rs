//! Traefik in front of the fleet lets through what the gateway in one process lets through.

use gateway::{site, traefik};

use crate::world::read;

#[test]
fn every_route_has_its_traefik_rule_and_every_rule_its_route() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../traefik/dynamic/routes.yml");
    let written = read(file.as_ref());
    let table = traefik::routers(site::ROUTES.iter().copied());
    assert!(
        written == table,
        "traefik/dynamic/routes.yml is not what the route table says: run `make traefik-routes`"
    );
}
