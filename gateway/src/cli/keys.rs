//! `rookery keys`.

use auth::operator::{KeyState, KeyUse, Rotation};
use clap::Subcommand;
use events::timestamp;

use super::client::Operators;
use super::say;
use super::table::{Table, or_dash};

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Print the keys, the oldest first
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a new key; the old one stays in /.well-known/jwks.json until what it signed has expired
    #[command(after_help = "\
The new key is published at once. In one process it signs at once, too; in a fleet two minutes later, when
every service has it. No token is refused, and nothing is restarted.

Where a key leaked:
  rookery keys rotate --now                        every access token so far is refused; clients refresh")]
    Rotate {
        /// Let the new key sign at once, and refuse all that others signed
        #[arg(long)]
        now: bool,
    },
}

pub(super) async fn run(operators: &Operators, command: Keys) -> anyhow::Result<()> {
    let auth = operators.of_service(auth::NAME)?;
    let path = format!("/{}/keys", auth::NAME);
    match command {
        Keys::List { json } => {
            let keys: Vec<KeyState> = auth.get(&path).await?;
            if json {
                return say(serde_json::to_string_pretty(&keys)?);
            }
            say(table(&keys))
        }
        Keys::Rotate { now } => {
            let keys: Vec<KeyState> = auth.post(&path, &Rotation { now }).await?;
            say(table(&keys))?;
            say(if now {
                "\nThe new key signs. What others signed is refused: clients refresh, or log in again."
            } else {
                "\nThe new key is published. No token is refused."
            })
        }
    }
}

fn table(keys: &[KeyState]) -> Table<5> {
    let mut table = Table::new(["KEY", "STATE", "PUBLISHED", "SIGNS FROM", "RETIRES"]);
    for key in keys {
        let state = match key.state {
            KeyUse::Waits => "waits",
            KeyUse::Signs => "signs",
            KeyUse::Verifies => "verifies",
            KeyUse::Retired => "retired",
        };
        table.row([
            key.kid.clone(),
            state.to_owned(),
            timestamp(key.published_at),
            timestamp(key.signs_from),
            or_dash(key.retires_at.map(timestamp)),
        ]);
    }
    table
}
