//! The first start: services before their servers, several of each at once, on empty databases.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::load::Writers;
use crate::stack::{Fleet, eventually, shuffled};

/// How many processes there are of each.
const REPLICAS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn services_wait_for_their_servers_and_serve_when_they_come_with_no_hand_on_them() {
    let fleet = Fleet::empty().await;
    let mut processes = Vec::new();
    for service in shuffled(fleet.services()) {
        let count = REPLICAS.to_string();
        fleet.script(&["scale", "--no-wait", service, &count]).await;
        fleet.script(&["start", "--no-wait", service]).await;
        processes.push(service.to_owned());
        processes.extend((2..=REPLICAS).map(|number| format!("{service}-{number}")));
    }
    fleet.script(&["start", "front", "traefik"]).await;
    for process in &processes {
        waits(&fleet, process).await;
    }
    let answer = fleet.gateway().ask("GET", "/api/posts", None, None).await;
    assert_eq!(answer.unwrap().status, 503);
    // Long enough for pauses to have grown.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut numbers = BTreeMap::new();
    for process in &processes {
        let lines = fleet.log(process).lines().count();
        assert!(lines < 60, "{process} says the same {lines} times");
        numbers.insert(process, fleet.pid(process).await);
    }

    for server in shuffled(fleet.servers()) {
        fleet.script(&["start", server]).await;
    }
    for process in &processes {
        let client = fleet.direct(process);
        eventually("it is ready", async || {
            let ready = client.send("GET", "/ready", None, None).await;
            if ready.status == 200 {
                Ok(())
            } else {
                Err(ready.text())
            }
        })
        .await;
    }
    for (process, number) in numbers {
        assert_eq!(fleet.pid(process).await, number, "{process} is another one");
    }
    one_schema_and_one_key(&fleet).await;
    let mut writers = Writers::of("start")
        .write_for(&fleet, Duration::from_secs(4))
        .await;
    assert_eq!(writers.count().cut_off, 0, "{}", writers.count());
    writers.account(&fleet).await;
    println!("start: {} processes waited, and served", processes.len());
}

/// It lives, says what is missing, and names the setting in its log.
async fn waits(fleet: &Fleet, process: &str) {
    let client = fleet.direct(process);
    eventually("it answers", async || {
        let request = client.request("GET", "/health").body("").unwrap();
        let answer = client.try_give(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
    let ready = client.send("GET", "/ready", None, None).await;
    let problem = ready.expect_problem(503, "not_ready");
    let said = problem["detail"].as_str().unwrap();
    assert!(said.contains("the database of"), "{process}: {said}");
    let stores = ["DATABASE_URL", "MONGODB_URL", "REDIS_URL"];
    let settings = fleet.environment(process).await;
    let store = settings.iter().map(|(name, _)| name.as_str());
    let store = store.clone().find(|name| stores.contains(name)).unwrap();
    eventually("it names what it waits for", async || {
        let log = fleet.log(process);
        if log.contains(store) {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
}

/// One replica was first; the others took what was there.
async fn one_schema_and_one_key(fleet: &Fleet) {
    for schema in fleet.schemas_with("_sqlx_migrations").await {
        let steps = format!(
            "select count(*), count(distinct version) from {schema}._sqlx_migrations where success"
        );
        let steps = fleet.psql(&steps).await;
        let (all, different) = steps.split_once('|').unwrap();
        assert!(all == different && all != "0", "{schema}: {steps}");
    }
    assert_eq!(
        fleet.psql("select count(*) from auth.signing_keys").await,
        "1"
    );
    let mut keys = Vec::new();
    for auth in ["auth", "auth-2", "auth-3"] {
        let jwks = fleet
            .direct(auth)
            .send("GET", "/.well-known/jwks.json", None, None)
            .await;
        keys.push(jwks.expect(200));
    }
    assert!(keys.windows(2).all(|two| two[0] == two[1]), "{keys:?}");
}
