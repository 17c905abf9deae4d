//! `rookery migrate`.

use blocks::config::Config;

/// Says how to get the executable that can.
#[cfg(not(feature = "fleet"))]
#[expect(clippy::unused_async, reason = "with the feature it moves")]
pub(super) async fn run(_: &Config, dry_run: bool) -> anyhow::Result<()> {
    let what = if dry_run {
        "compare it with"
    } else {
        "move it into"
    };
    anyhow::bail!(
        "this rookery knows the folder and no servers to {what}; build the one of the fleet: \
         cargo build --release -p gateway --features fleet (the fleet's image has it)"
    )
}

/// Moves the folder, and says what became of it.
#[cfg(feature = "fleet")]
pub(super) async fn run(config: &Config, dry_run: bool) -> anyhow::Result<()> {
    let report = crate::migrate::run(config, dry_run).await?;
    show::table(&report)?;
    if dry_run {
        return show::what_would_be(&report);
    }
    show::outcome(config, &report)
}

#[cfg(feature = "fleet")]
mod show {
    use anyhow::bail;
    use blocks::config::Config;

    use super::super::say;
    use super::super::table::Table;
    use crate::migrate::{Moved, Report};

    pub(super) fn table(report: &Report) -> anyhow::Result<()> {
        let mut table = Table::new(["PART", "ROWS", "IN TARGET", "WRITTEN", "SHA-256", "EQUAL"]);
        for Moved {
            name,
            compared,
            written,
        } in &report.parts
        {
            table.row([
                name.clone(),
                compared.here.to_string(),
                compared.there.to_string(),
                written.to_string(),
                short(&compared.there_hash),
                if compared.is_equal() { "yes" } else { "no" }.to_owned(),
            ]);
        }
        say(table)
    }

    /// As much of a hash as people compare.
    fn short(hash: &[u8; 32]) -> String {
        let first = hash.first_chunk().copied().unwrap_or_default();
        format!("{:012x}", u64::from_be_bytes(first) >> 16)
    }

    pub(super) fn what_would_be(report: &Report) -> anyhow::Result<()> {
        let missing: u64 = report
            .parts
            .iter()
            .map(|part| part.compared.missing())
            .sum();
        say(format!("\n{missing} rows would be written; none was."))
    }

    pub(super) fn outcome(config: &Config, report: &Report) -> anyhow::Result<()> {
        let differ = report.parts.iter().filter(|part| !part.compared.is_equal());
        let differ: Vec<&str> = differ.map(|part| part.name.as_str()).collect();
        if !differ.is_empty() {
            bail!(
                "not equal on both sides: {}; run it again, and if that does not help, start nothing on \
                 these servers",
                differ.join(", ")
            );
        }
        let written: u64 = report.parts.iter().map(|part| part.written).sum();
        say(format!(
            "\nAll of it is there; {written} rows were written. The folder is as it was: do not serve it \
             any more while the fleet runs."
        ))?;
        if report.refused > 0 {
            say(format!(
                "{} events of posts that the log has refused stay in the folder: rookery outbox --list",
                report.refused
            ))?;
        }
        let key = match config.get(&auth::SECRET_KEY) {
            Some(_) => "Start auth with the same SECRET_KEY as this command.".to_owned(),
            None => format!(
                "Start auth with the folder's own SECRET_KEY, which is in {}.",
                config.data_dir.join("secret.key").display()
            ),
        };
        say(format!("{key} With another one nobody's token holds."))
    }
}
