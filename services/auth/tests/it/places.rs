//! Places that accounts were logged in from: whoever guesses elsewhere does not keep the owner out.

use axum::body::Body;
use blocks::kit::Peer;
use chrono::TimeDelta;
use serde_json::json;
use sql::fetch_one;
use testkit::http::Answer;
use testkit::service::NOBODY;

use crate::on_both;
use crate::world::{PASSWORD, World, request};

const WRONG: &str = "wrong horse battery";

/// A login from an address.
async fn login_from(world: &World, peer: &str, name: &str, password: &str) -> Answer {
    let json = [("content-type", "application/json")];
    let mut request = request("POST", "/api/auth/login", &json);
    request.extensions_mut().insert(Peer(peer.parse().unwrap()));
    let body = json!({"username": name, "password": password});
    *request.body_mut() = Body::from(body.to_string());
    world.app.give(request, NOBODY).await
}

on_both!(
    whoever_guesses_does_not_keep_the_owner_out_at_a_place_that_the_account_knows,
    |world: World| async move {
        let (home, flat, thief) = ("2001:db8:1:2::1", "192.0.2.7", "198.51.100.9");
        world.register("ada").await;
        let from = async |peer: &str, password: &str| {
            let answer = login_from(&world, peer, "ada", password).await;
            answer.status.as_u16()
        };
        assert_eq!(from(home, PASSWORD).await, 200);
        let guess = async || while from(thief, WRONG).await == 401 {};
        guess().await;
        // Nobody gets in from elsewhere, with the right one neither; her network does.
        assert_eq!(from(thief, PASSWORD).await, 429);
        assert_eq!(from(flat, PASSWORD).await, 429);
        assert_eq!(from("2001:db8:1:2::ffff", PASSWORD).await, 200);
        // From there ten may be wrong, too, and no more.
        guess().await;
        for _ in 0..10 {
            assert_eq!(from(home, WRONG).await, 401);
        }
        assert_eq!(from(home, PASSWORD).await, 429);
        // A name that nobody has is refused in the same way.
        while login_from(&world, home, "nobody", WRONG).await.status == 401 {}
        let nobody = login_from(&world, home, "nobody", WRONG).await;
        nobody.problem(429, "too_many_attempts");
        // A place is forgotten three months after the last login from there.
        world.clock.advance(TimeDelta::days(60));
        assert_eq!(from(home, PASSWORD).await, 200);
        world.clock.advance(TimeDelta::days(60));
        guess().await;
        assert_eq!(from(home, PASSWORD).await, 200);
        world.clock.advance(TimeDelta::days(91));
        guess().await;
        assert_eq!(from(home, PASSWORD).await, 429);
        world.clock.advance(TimeDelta::hours(1));
        assert_eq!(from(flat, PASSWORD).await, 200);
        assert_eq!(places(&world).await, 1, "the older one is gone");
    }
);

on_both!(
    an_account_knows_the_places_of_its_latest_hundred_logins,
    |world: World| async move {
        world.register("ada").await;
        for n in 0..102 {
            world.clock.advance(TimeDelta::seconds(1));
            let peer = format!("192.0.2.{n}");
            login_from(&world, &peer, "ada", PASSWORD).await.expect(200);
        }
        assert_eq!(places(&world).await, 100);
        while login_from(&world, "198.51.100.9", "ada", WRONG)
            .await
            .status
            == 401
        {}
        for (peer, status) in [("192.0.2.1", 429), ("192.0.2.2", 200)] {
            let answer = login_from(&world, peer, "ada", PASSWORD).await;
            assert_eq!(answer.status, status, "{peer}");
        }
    }
);

async fn places(world: &World) -> i64 {
    let mut reader = world.db.read().await.unwrap();
    fetch_one!(reader, scalar "select count(*) from known_places").unwrap()
}
