//! The arguments of the command line.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use blocks::Role;
use blocks::config::help;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::keys::Keys;
use crate::address::Address;
use crate::roster;

const EXAMPLES: &str = "\
Examples:
  rookery                                          serve on http://127.0.0.1:8000, data in ./data
  rookery serve --port 9000 --data-dir /srv/rookery
  rookery events tail posts-events --follow        watch what happens
  rookery events topics                            topics, and how far each reader is
  rookery dlq list                                 events that a reader gave up on
  rookery dlq replay --all                         try them again
  rookery admin create --email root@example.org --username root
  rookery users list --q ada                       accounts, by the beginning of a name or an address
  rookery users import accounts.jsonl              accounts of another system, with the hashes of their passwords
  rookery migrate                                  move the folder into the servers of a fleet
  rookery config                                   what is in force, and where it came from

Commands ask the server that runs on the data folder, or the services of a fleet where
OPERATOR_SERVICES says where they take operators, with OPERATOR_KEY. With --offline they open the
folder, or the servers of a fleet that runs nothing, themselves (feature `fleet`).
Settings are read from the environment, then from .env in the working folder, then from a TOML file, then
there are defaults.";

/// A backend for a community: accounts, profiles, posts, activity streams and notifications.
#[derive(Debug, Parser)]
#[command(name = "rookery", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do; `serve` when nothing is said.
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) overrides: Overrides,
    #[command(flatten)]
    pub(super) operators: Operators,
}

impl Cli {
    /// Reads the command line; `--help` lists the settings, too.
    pub fn read() -> Self {
        let settings = help(&roster::settings());
        let command = Self::command().after_long_help(format!("{EXAMPLES}\n\n{settings}"));
        let read = Self::from_arg_matches(&command.get_matches());
        read.unwrap_or_else(|error| error.exit())
    }
}

/// The addressees of commands that look into services.
#[derive(Debug, Default, Args)]
pub(super) struct Operators {
    /// Open the stores in this process, where no server runs; nothing of a schema is changed
    #[arg(long, global = true)]
    pub offline: bool,
    /// Where the services of a fleet take operators: SERVICE=URL, several with commas [`OPERATOR_SERVICES`]
    #[arg(
        long = "operators",
        global = true,
        value_name = "SERVICE=URL",
        value_delimiter = ','
    )]
    pub services: Vec<Address>,
}

/// These win over environment and file.
#[derive(Debug, Default, Args)]
pub(super) struct Overrides {
    /// The folder that holds everything [`DATA_DIR`, default ./data]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// A TOML file of settings (`ROOKERY_CONFIG`)
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The port to listen on; 0 takes a free one [`PORT`, default 8000]
    #[arg(long, global = true)]
    pub port: Option<u16>,
    /// The address to listen on [`HOST`, default 127.0.0.1]
    #[arg(long, global = true)]
    pub host: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve all services in this process (what happens when no command is given)
    #[command(after_help = "\
It prints where it listens and three commands to try. Ctrl-C or SIGTERM stop it: requests that are
under way are finished within GRACE_SECONDS. With --port 0 the address is in DATA_DIR/rookery.addr.")]
    Serve,
    /// Look at topics and the events on them
    #[command(subcommand)]
    Events(Events),
    /// What each service has committed and not yet published
    #[command(after_help = "\
Examples:
  rookery outbox                                   how much waits, and for how long
  rookery outbox --list 20                         the latest rows of each service
  rookery outbox republish --since 2h              publish once more; readers skip what they have")]
    Outbox(Outbox),
    /// Events that a reader gave up on, and keys that wait behind them
    #[command(subcommand)]
    Dlq(Dlq),
    /// The activity streams
    #[command(subcommand)]
    Feed(Feed),
    /// Accounts that may do everything
    #[command(subcommand)]
    Admin(Admin),
    /// All accounts
    #[command(subcommand)]
    Users(Users),
    /// What services still hold of closed accounts
    #[command(subcommand)]
    Erasure(Erasure),
    /// The keys that sign access tokens
    #[command(subcommand)]
    Keys(Keys),
    /// The mails that accounts get, and the way by which they go out
    #[command(subcommand)]
    Mail(super::mail::Mail),
    /// Move the data folder into the servers of a fleet
    #[command(after_help = "\
Example, with the servers of `scripts/stack up --servers`:
  eval \"$(scripts/stack env)\"
  export DATABASE_URL MONGODB_URL REDIS_URL KAFKA_BOOTSTRAP_SERVERS
  rookery migrate --data-dir ./data

DATABASE_DIRECT_URL goes past a pooler, where there is one. Stop the server of the folder before, and
start the fleet after. The servers must be empty, or have what an earlier run of this command wrote:
broken off, it goes on; done twice, it changes nothing. What the folder holds stays. It ends with a table
of what is on both sides, and fails where that is not equal. docs/fleet.md says more.")]
    Migrate {
        /// Compare and say what would be written; makes tables and collections, but no row
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the settings in force and where each came from; secrets are masked
    Config,
    /// Print who may pass the gateway on which route
    Routes,
    /// Print the services: what each publishes and reads, and where it keeps its state
    Services {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write what is made of the services' definitions, in the project's folder
    #[command(after_help = "\
It writes Traefik's routers, compose files, Kubernetes manifests, docs/openapi.json, and the lists and tables
between markers in other files. Run it after a service, a route, a setting or a handler's documentation
has changed; `make check` fails until then.")]
    Generate {
        /// Write nothing, and fail where something would be written
        #[arg(long)]
        check: bool,
        /// The project's folder
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
    /// Answer for services that run each on its own: health, documentation, errors of the gateway
    #[command(after_help = "\
It stands behind Traefik, beside the services, and keeps nothing.

Example:
  rookery front --port 8100 --service auth=http://127.0.0.1:8101,posts=http://127.0.0.1:8103")]
    Front {
        /// Where the services are: SERVICE=URL, several with commas
        #[arg(
            long = "service",
            env = "FRONT_SERVICES",
            value_name = "SERVICE=URL",
            value_delimiter = ',',
            required = true
        )]
        services: Vec<Address>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// Print the events of a topic, one a line
    #[command(after_help = "\
Examples:
  rookery events tail posts-events                     the latest ten
  rookery events tail posts-events --from-beginning    all of them
  rookery events tail user.events --limit 3 --follow   the latest three, then what comes
  rookery events tail posts-events --json | jq .value.data.title

The columns are time, type, key, version of the key, and the data. --json gives one object a line
with the headers.")]
    Tail(Tail),
    /// Print the topics: partitions, records, retention, and how far behind each reader is
    #[command(after_help = "\
Examples:
  rookery events topics
  rookery events topics --json | jq '.[] | select(.name == \"posts-events\")'")]
    Topics {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a consumer group read its topics again, from their oldest event
    #[command(after_help = "\
Examples:
  rookery events reset notification                        say what would be read again
  rookery events reset notification --execute              do it
  rookery events reset notification --topic user.events --execute

Offsets are kept in the group's own store, beside what it made of the events. So kafka-consumer-groups
--reset-offsets changes nothing, and this does. The group forgets the offsets and which versions it has handled,
and empties what it can make anew of the topic. Events that the topic no longer keeps do not come again.
Other replicas of the service notice at their next event. Names and closed accounts are kept: the topic gives
them for a week only. For the activity streams this is `rookery feed rebuild` with the names read again, too;
it does not wait for the outcome.")]
    Reset {
        /// The group; `rookery events topics` prints them
        group: String,
        /// Of this topic only
        #[arg(long)]
        topic: Option<String>,
        /// Do it
        #[arg(long)]
        execute: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub(super) struct Tail {
    /// Its name; `rookery events topics` prints them
    pub topic: String,
    /// Begin with the oldest event
    #[arg(long)]
    pub from_beginning: bool,
    /// Go on with what comes, also across a restart of the server
    #[arg(long, short)]
    pub follow: bool,
    /// At most so many; together with --follow: so many of what is there [default: 10 latest]
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<usize>,
    /// One JSON object a line, with the headers
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Outbox {
    #[command(subcommand)]
    pub command: Option<OutboxCommand>,
    /// Also print the latest rows of each service
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10")]
    pub list: Option<u32>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// Publish events once more; readers skip what they have
    Republish {
        /// From when on: a span back from now (`90s`, `15m`, `2h`, `3d`) or an RFC 3339 time
        #[arg(long)]
        since: String,
        /// Of this service only
        #[arg(long)]
        service: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Dlq {
    /// Print the keys that do not go on, and why
    #[command(after_help = "\
Examples:
  rookery dlq list
  rookery dlq list --group notification --json")]
    List {
        /// Of this consumer group only
        #[arg(long)]
        group: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what waits under a key, with the reason
    Show {
        /// As `dlq list` prints it: GROUP:ID
        id: Handle,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Try again, then go on with what waited behind
    #[command(after_help = "\
Examples:
  rookery dlq replay notification:3
  rookery dlq replay --all
  rookery dlq replay --all --group notification")]
    Replay {
        /// As `dlq list` prints it: GROUP:ID
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<Handle>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Of this consumer group only
        #[arg(long, requires = "all")]
        group: Option<String>,
    },
    /// Give the first waiting event up for good and go on with what waited behind
    Discard {
        /// As `dlq list` prints it: GROUP:ID
        id: Handle,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Feed {
    /// Make the activity streams anew from the log; readers see the old ones until it is done
    Rebuild,
}

#[derive(Debug, Subcommand)]
pub(super) enum Admin {
    /// Open an account with the role admin
    #[command(after_help = "\
Examples:
  rookery admin create --email root@example.org --username root
  printf %s \"$PASSWORD\" | rookery admin create --email root@example.org --username root --password-stdin")]
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its address
    #[arg(long)]
    pub email: String,
    /// Its name: 3 to 32 letters, digits, dots, dashes, underscores
    #[arg(long)]
    pub username: String,
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    pub password_stdin: bool,
}

/// `USER` is an id, an e-mail address or a username.
#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// Print accounts, by id
    #[command(after_help = "\
Examples:
  rookery users list --q ada                       whose address, username or name begins with it
  rookery users list --role admin
  rookery users list --inactive --json")]
    List {
        /// The beginning of an address, a username or a name, whatever the case
        #[arg(long)]
        q: Option<String>,
        /// Only those with this role
        #[arg(long)]
        role: Option<RoleName>,
        /// Only those that nobody can log in to
        #[arg(long)]
        inactive: bool,
        /// At most so many; all where it is absent
        #[arg(long, short = 'n', value_name = "N")]
        limit: Option<NonZeroUsize>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print an account
    Show {
        /// An id, an e-mail address or a username
        user: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Open an account
    #[command(after_help = "\
Examples:
  rookery users create --email ada@example.org --username ada
  rookery users create --email ada@example.org --invite
  printf %s \"$PASSWORD\" | rookery users create --email ada@example.org --role guest --password-stdin")]
    Create {
        /// Its address
        #[arg(long)]
        email: String,
        /// Its name; without one it is made of the address
        #[arg(long)]
        username: Option<String>,
        #[arg(long, default_value = "user")]
        role: RoleName,
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
        /// Ask for no password: a link to choose one is mailed to the address
        #[arg(long, conflicts_with = "password_stdin")]
        invite: bool,
    },
    /// Give an account another role
    SetRole {
        /// An id, an e-mail address or a username
        user: String,
        role: RoleName,
    },
    /// Give an account another password, and end its sessions
    SetPassword {
        /// An id, an e-mail address or a username
        user: String,
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// End an account's sessions, and let nobody log in to it
    Deactivate {
        /// An id, an e-mail address or a username
        user: String,
    },
    /// Let its owner log in again
    Activate {
        /// An id, an e-mail address or a username
        user: String,
    },
    /// Open accounts that were elsewhere before: a line of JSON each
    #[command(after_help = "\
Example of a line; all but the address may be absent:
  {\"email\": \"ada@example.org\", \"username\": \"ada\", \"password_hash\": \"$2b$12$...\", \"first_name\": \"Ada\",
   \"last_name\": \"Lovelace\", \"full_name\": \"Ada Lovelace\", \"age\": 36, \"role\": \"user\", \"is_active\": true,
   \"email_verified\": true, \"created_at\": \"2020-01-31T12:00:00Z\"}

Hashes are those of bcrypt ($2a$, $2b$, $2y$) or argon2id. Nobody is sent a welcome. Lines that are refused go to
the report, a line of JSON a field; the others are imported, and the exit code is 1. Broken off, the same command
goes on where it was, within a day. docs/accounts.md says more.")]
    Import(Import),
    /// Print all accounts as `users import` reads them, with the hashes of their passwords
    #[command(after_help = "\
Examples:
  rookery users export accounts.jsonl              a new file that only you can read
  rookery users export | jq -r .email")]
    Export {
        /// A new file; standard output where it is absent
        file: Option<PathBuf>,
    },
    /// Close an account for ever; all services erase what they hold of it
    Delete {
        /// An id, an e-mail address or a username
        user: String,
        /// Do it; otherwise only say what would be deleted
        #[arg(long)]
        execute: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file; `-` is standard input
    pub file: PathBuf,
    /// Where refused lines are told; beside the file, as FILE.report, where it is absent
    #[arg(long, value_name = "REPORT")]
    pub report: Option<PathBuf>,
    /// Check the lines, and open no account
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Erasure {
    /// Print which services hold nothing of a closed account any more
    Status {
        /// Its id, which `users delete` printed
        id: i64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// A role by its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoleName(pub Role);

impl std::str::FromStr for RoleName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = Role::parse(text).ok_or("is none of admin, user and guest")?;
        Ok(Self(role))
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A blocked key: the group, and its number there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle {
    pub group: String,
    pub id: i64,
}

impl fmt::Display for Handle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.group, self.id)
    }
}

impl std::str::FromStr for Handle {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (group, id) = text
            .rsplit_once(':')
            .ok_or("write it as `rookery dlq list` prints it: GROUP:ID")?;
        let id = id
            .parse()
            .map_err(|_| format!("{id:?} is no number; write GROUP:ID"))?;
        Ok(Self {
            group: group.to_owned(),
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_at_all_serves_and_overrides_go_anywhere() {
        let cli = Cli::parse_from(["rookery", "--port", "0"]);
        assert!(cli.command.is_none());
        assert_eq!(cli.overrides.port, Some(0));
        let cli = Cli::parse_from(["rookery", "dlq", "list", "--data-dir", "/d"]);
        assert_eq!(cli.overrides.data_dir, Some("/d".into()));
        assert!(matches!(cli.command, Some(Command::Dlq(Dlq::List { .. }))));
    }

    #[test]
    fn a_handle_is_a_group_and_a_number() {
        let handle: Handle = "feed-generator:12".parse().unwrap();
        assert_eq!((handle.group.as_str(), handle.id), ("feed-generator", 12));
        assert!("12".parse::<Handle>().is_err());
        assert!("feed-generator:x".parse::<Handle>().is_err());
        assert!(Cli::try_parse_from(["rookery", "dlq", "replay"]).is_err());
        assert!(Cli::try_parse_from(["rookery", "dlq", "replay", "a:1", "--all"]).is_err());
    }
}
