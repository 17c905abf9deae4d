//! The dependencies that crates may have.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The output of cargo.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output.stdout
}

/// The members of the workspace: the folder of each and its dependencies outside of tests, with those by a
/// feature where `with_features` is set.
fn members(with_features: bool) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_slice(&output).unwrap();
    let root = metadata["workspace_root"].as_str().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let manifest = text(&package["manifest_path"]);
            let folder = manifest.strip_prefix(root).unwrap().trim_start_matches('/');
            let folder = folder.split('/').next().unwrap().to_owned();
            let needed = package["dependencies"].as_array().unwrap().iter();
            let needed = needed
                .filter(|dependency| dependency["kind"].is_null())
                .filter(|dependency| with_features || dependency["optional"] != true)
                .map(|dependency| text(&dependency["name"]));
            (text(&package["name"]), (folder, needed.collect()))
        })
        .collect()
}

#[test]
fn services_share_event_types_and_building_blocks_and_never_each_other() {
    let members = members(true);
    let services: BTreeSet<&String> = members
        .iter()
        .filter(|(_, (folder, _))| folder == "services")
        .map(|(name, _)| name)
        .collect();
    assert!(services.len() >= 5, "{services:?}");
    for (name, (folder, needed)) in &members {
        let of_services: Vec<_> = needed
            .iter()
            .filter(|name| services.contains(name))
            .collect();
        match folder.as_str() {
            "gateway" | "bench" => {}
            _ => assert!(of_services.is_empty(), "{name} depends on {of_services:?}"),
        }
        if folder == "services" {
            let ours: BTreeSet<_> = needed
                .iter()
                .filter(|name| members.contains_key(*name))
                .collect();
            for name in ours {
                // The runtime is for the executable of one that runs alone.
                assert!(
                    [
                        "events",
                        "blocks",
                        "sql",
                        "service",
                        "http-client",
                        "cache",
                        "mail",
                        "runtime"
                    ]
                    .contains(&name.as_str()),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn what_is_below_does_not_know_what_is_above() {
    let members = members(false);
    let ours = |name: &str| -> BTreeSet<&str> {
        let needed = members[name].1.iter().map(String::as_str);
        needed.filter(|name| members.contains_key(*name)).collect()
    };
    assert_eq!(ours("events"), [].into());
    assert_eq!(ours("blocks"), ["events"].into());
    assert_eq!(ours("sql"), ["blocks", "events"].into());
    assert_eq!(ours("http-client"), ["blocks", "events"].into());
    assert_eq!(ours("cache"), ["blocks"].into());
    assert_eq!(ours("mail"), ["blocks", "http-client"].into());
    assert_eq!(ours("service"), ["blocks", "events", "sql"].into());
    let below = ["blocks", "events", "service", "sql"];
    assert_eq!(ours("runtime"), below.into());
    for (name, (_, needed)) in &members {
        let test_only = needed.contains("testkit");
        assert!(
            !test_only || name == "bench",
            "{name} depends on the testkit"
        );
        for above in ["gateway", "bench"] {
            assert!(
                !needed.contains(above) || name == "bench",
                "{name} depends on {above}"
            );
        }
        let runs = needed.contains("runtime");
        assert!(
            !runs || ["gateway", "bench"].contains(&name.as_str()),
            "{name} uses the runtime"
        );
    }
    for types_only in ["tokio", "axum", "sqlx"] {
        assert!(!members["events"].1.contains(types_only), "{types_only}");
    }
    for database in ["sqlx", "rdkafka", "redis", "mongodb"] {
        assert!(!members["blocks"].1.contains(database), "{database}");
    }
}

#[test]
fn one_process_contains_no_client_of_a_server() {
    let tree = cargo(&["tree", "-p", "gateway", "-e", "normal", "--prefix", "none"]);
    let tree = String::from_utf8(tree).unwrap();
    let has = |name| {
        tree.lines()
            .any(|line| line.split(' ').next() == Some(name))
    };
    assert!(has("gateway") && has("sqlx"), "{tree}");
    for client in ["rdkafka", "mongodb", "redis"] {
        assert!(!has(client), "{client}");
    }
}
