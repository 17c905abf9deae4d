//! `rookery users`, `rookery admin` and `rookery erasure`.

use std::num::NonZeroUsize;

use auth::Account;
use auth::operator::{self, NewPassword, NewUser, UserChange};
use auth::queries;
use blocks::extract::MAX_LIMIT;
use events::timestamp;
use service::Definition;
use service::settings::encoded;

use super::accounts;
use super::args::{Erasure, RoleName, Users};
use super::client::{Endpoint, Operators};
use super::say;
use super::table::{Table, or_dash};
use crate::roster::ROSTER;

pub(super) async fn run(
    operators: &Operators,
    command: Users,
    password: String,
) -> anyhow::Result<()> {
    let auth = operators.of_service(auth::NAME)?;
    match command {
        Users::List {
            q,
            role,
            inactive,
            limit,
            json,
        } => {
            let mut wanted = vec![("limit", MAX_LIMIT.to_string())];
            wanted.extend(q.map(|q| ("q", q)));
            wanted.extend(role.map(|role| ("role", role.to_string())));
            wanted.extend(inactive.then(|| ("is_active", "false".to_owned())));
            list(
                auth,
                wanted,
                limit.map_or(usize::MAX, NonZeroUsize::get),
                json,
            )
            .await
        }
        Users::Show { user, json } => show(&find(auth, &user).await?, json),
        Users::Create {
            email,
            username,
            role: RoleName(role),
            password_stdin: _,
            invite,
        } => {
            let new = NewUser {
                email,
                username,
                password: (!invite).then_some(password),
                role,
            };
            let made: Account = auth.post(&path("/users"), &new).await?;
            say(format!(
                "{} is {} now, with the id {}.",
                made.username,
                with_article(made.role.as_str()),
                made.id
            ))
        }
        Users::SetRole {
            user,
            role: RoleName(role),
        } => {
            let change = UserChange {
                role: Some(role),
                ..UserChange::default()
            };
            let changed = set(auth, &user, &change).await?;
            let role = with_article(changed.role.as_str());
            say(format!("{} is {role} now.", changed.username))
        }
        Users::SetPassword { user, .. } => {
            let account = find(auth, &user).await?;
            let new = NewPassword {
                new_password: password,
            };
            let to = path(&format!("/users/{}/password", account.id));
            let ended: usize = auth.post(&to, &new).await?;
            say(format!(
                "{} has a new password. Sessions ended: {ended}.",
                account.username
            ))
        }
        Users::Deactivate { user } => {
            let changed = set(auth, &user, &active(false)).await?;
            say(format!(
                "{} is logged out everywhere, and nobody can log in. `rookery users activate {}` undoes it.",
                changed.username, changed.id
            ))
        }
        Users::Activate { user } => {
            let changed = set(auth, &user, &active(true)).await?;
            say(format!("{} can log in again.", changed.username))
        }
        Users::Import(wanted) => accounts::import(auth, wanted).await,
        Users::Export { file } => accounts::export(auth, file.as_deref()).await,
        Users::Delete { user, execute } => delete(auth, &user, execute).await,
    }
}

fn active(is_active: bool) -> UserChange {
    UserChange {
        is_active: Some(is_active),
        ..UserChange::default()
    }
}

pub(super) fn path(rest: &str) -> String {
    format!("/{}{rest}", auth::NAME)
}

fn with_article(role: &str) -> String {
    let article = if role.starts_with('a') { "an" } else { "a" };
    format!("{article} {role}")
}

async fn find(auth: &Endpoint, user: &str) -> anyhow::Result<Account> {
    auth.get(&path(&format!("/users/{}", encoded(user)))).await
}

async fn set(auth: &Endpoint, user: &str, change: &UserChange) -> anyhow::Result<Account> {
    let id = find(auth, user).await?.id;
    auth.post(&path(&format!("/users/{id}")), change).await
}

async fn list(
    auth: &Endpoint,
    wanted: Vec<(&str, String)>,
    limit: usize,
    json: bool,
) -> anyhow::Result<()> {
    let query = wanted
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    let query = query.collect::<Vec<_>>().join("&");
    let (mut left, mut cursor) = (limit, String::new());
    let mut table = Table::new(["ID", "USERNAME", "EMAIL", "ROLE", "ACTIVE", "LAST LOGIN"]);
    loop {
        let part: operator::Users = auth.get(&path(&format!("/users?{query}{cursor}"))).await?;
        for account in part.items.into_iter().take(left) {
            left -= 1;
            if json {
                say(serde_json::to_string(&account)?)?;
                continue;
            }
            table.row([
                account.id.to_string(),
                account.username,
                account.email,
                account.role.to_string(),
                yes(account.is_active),
                or_dash(account.last_login_at.map(timestamp)),
            ]);
        }
        match part.next_cursor {
            Some(next) if left > 0 => cursor = format!("&cursor={}", encoded(&next)),
            _ => break,
        }
    }
    if json {
        return Ok(());
    }
    if left == limit {
        return say("Nobody.");
    }
    say(table)
}

fn show(account: &Account, json: bool) -> anyhow::Result<()> {
    if json {
        return say(serde_json::to_string_pretty(account)?);
    }
    for (name, value) in [
        ("id", account.id.to_string()),
        ("username", account.username.clone()),
        ("email", account.email.clone()),
        ("verified", yes(account.email_verified)),
        ("first name", or_dash(account.first_name.as_deref())),
        ("last name", or_dash(account.last_name.as_deref())),
        ("full name", or_dash(account.full_name.as_deref())),
        ("age", or_dash(account.age)),
        ("role", account.role.to_string()),
        ("active", yes(account.is_active)),
        ("opened", timestamp(account.created_at)),
        ("changed", timestamp(account.updated_at)),
        ("last login", or_dash(account.last_login_at.map(timestamp))),
    ] {
        say(format!("{name:<12}{value}"))?;
    }
    Ok(())
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

async fn delete(auth: &Endpoint, user: &str, execute: bool) -> anyhow::Result<()> {
    let account = find(auth, user).await?;
    if !execute {
        show(&account, false)?;
        return say("\nNothing was deleted: --execute does it. There is no way back.");
    }
    let id = account.id;
    let () = auth.post(&path(&format!("/users/{id}/close")), &()).await?;
    say(format!(
        "{} is deleted. `rookery erasure status {id}` says which services have erased what they held.",
        account.username
    ))
}

pub(super) async fn erasure(operators: &Operators, command: Erasure) -> anyhow::Result<()> {
    let Erasure::Status { id, json } = command;
    let auth = operators.of_service(auth::NAME)?;
    let found: queries::Erasure = auth.get(&path(&format!("/users/{id}/erasure"))).await?;
    if json {
        return say(serde_json::to_string_pretty(&found)?);
    }
    say(format!("closed at {}\n", timestamp(found.closed_at)))?;
    let mut table = Table::new(["SERVICE", "RECORDS", "ERASED AT"]);
    for answer in &found.answers {
        table.row([
            answer.service.clone(),
            answer.records.to_string(),
            timestamp(answer.erased_at),
        ]);
    }
    let answered = |of: &Definition| found.answers.iter().any(|answer| answer.service == of.name);
    let follows = |of: &Definition| of.publishes.contains(&"user.erased");
    for of in ROSTER.iter().filter(|of| follows(of) && !answered(of)) {
        table.row([of.name.to_owned(), String::new(), "pending".to_owned()]);
    }
    say(table)
}
