//! `rookery users import` and `rookery users export`.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use auth::domain::key;
use auth::import::{
    BATCH_BYTES, BATCH_LINES, Batch, Exported, Imported, LINE_BYTES, PortableAccount, Refusal,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Import;
use super::client::Endpoint;
use super::users::path;

/// What stands for standard input.
const STDIN: &str = "-";
/// The number of lines between two that show progress where nobody watches a bar.
const EVERY: u64 = 100_000;

pub(super) async fn import(auth: &Endpoint, wanted: Import) -> anyhow::Result<()> {
    let report_path = wanted.report_path()?;
    let mut source = Source::open(&wanted.file)?;
    let is_itself = |file: PathBuf| {
        report_path
            .canonicalize()
            .is_ok_and(|report| report == file)
    };
    ensure!(
        !wanted.file.canonicalize().is_ok_and(is_itself),
        "{} can't be its own report",
        wanted.file.display()
    );
    let shown = report_path.display();
    let report = File::create(&report_path).with_context(|| format!("could not write {shown}"))?;
    let mut report = BufWriter::new(report);
    let bar = bar(source.length)?;
    let (mut after, mut added, mut refused) = (String::new(), 0, 0);
    let mut seen = wanted.dry_run.then(Seen::default);
    while let Some(part) = source.part()? {
        let (first, next) = (part.first_line, source.next_line);
        let batch = Batch {
            after,
            first_line: first,
            lines: part.text,
            dry_run: wanted.dry_run,
        };
        let answer: Imported = auth.post(&path("/import"), &batch).await.with_context(|| {
            let before = first - 1;
            format!("the lines up to {before} are done; the same command goes on from there")
        })?;
        let mut refusals = [part.refused, answer.refused].concat();
        added += answer.added;
        if let Some(seen) = &mut seen {
            let twice = seen.refuse(&batch, &refusals);
            added -= u64::try_from(twice.len())?;
            refusals.extend(twice);
        }
        refusals.sort_by_key(|refusal| refusal.line);
        for refusal in &refusals {
            serde_json::to_writer(&mut report, refusal)?;
            report.write_all(b"\n")?;
        }
        refusals.dedup_by_key(|refusal| refusal.line);
        refused += refusals.len();
        after = answer.next;
        bar.set_position(source.read);
        if bar.is_hidden() && (next - 1) / EVERY > (first - 1) / EVERY {
            eprintln!("{} lines so far", next - 1);
        }
    }
    bar.finish_and_clear();
    report
        .flush()
        .with_context(|| format!("could not write {shown}"))?;
    eprintln!(
        "{added} accounts {}; lines refused: {refused}",
        if wanted.dry_run {
            "would be opened"
        } else {
            "are open"
        }
    );
    ensure!(
        refused == 0,
        "{refused} lines were refused; {shown} says why"
    );
    Ok(())
}

fn bar(length: Option<u64>) -> anyhow::Result<ProgressBar> {
    let form = match length {
        Some(_) => "{bar:40} {bytes} of {total_bytes}, {eta} left",
        None => "{spinner} {bytes}",
    };
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    Ok(bar.with_style(ProgressStyle::with_template(form)?))
}

impl Import {
    /// Beside the file, where nothing else is said.
    fn report_path(&self) -> anyhow::Result<PathBuf> {
        if let Some(report) = &self.report {
            return Ok(report.clone());
        }
        ensure!(
            self.file != Path::new(STDIN),
            "--report must say where refused lines of standard input are told"
        );
        let mut beside = self.file.clone().into_os_string();
        beside.push(".report");
        Ok(beside.into())
    }
}

/// The lines of a file, read once and a part at a time.
struct Source {
    reader: Box<dyn BufRead>,
    /// The bytes of the file; unknown of a pipe.
    length: Option<u64>,
    read: u64,
    /// The number of the line after those that were given.
    next_line: u64,
    /// The one that did not fit into the last part.
    held: Option<Line>,
}

/// A line without its end; otherwise the reason why it can't be sent.
type Line = Result<String, fn(u64) -> Refusal>;

/// Some lines, as many as a batch has.
struct Part {
    first_line: u64,
    /// A blank line stands for each that can't be sent.
    text: String,
    refused: Vec<Refusal>,
}

impl Source {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let (reader, length): (Box<dyn BufRead>, _) = if path == Path::new(STDIN) {
            (Box::new(BufReader::new(io::stdin())), None)
        } else {
            let file = File::open(path);
            let file = file.with_context(|| format!("could not read {}", path.display()))?;
            let about = file.metadata()?;
            let length = Some(about.len()).filter(|_| about.is_file());
            (Box::new(BufReader::new(file)), length)
        };
        Ok(Self::over(reader, length))
    }

    fn over(reader: Box<dyn BufRead>, length: Option<u64>) -> Self {
        Self {
            reader,
            length,
            read: 0,
            next_line: 1,
            held: None,
        }
    }

    /// The next part; `None` at the end.
    fn part(&mut self) -> anyhow::Result<Option<Part>> {
        let mut part = Part {
            first_line: self.next_line,
            text: String::new(),
            refused: Vec::new(),
        };
        let end = self.next_line + u64::try_from(BATCH_LINES)?;
        while self.next_line < end {
            let line = match self.held.take() {
                Some(line) => Some(line),
                None => self.line().context("could not read the lines")?,
            };
            match line {
                None => break,
                Some(Ok(text)) if part.text.len() + text.len() >= BATCH_BYTES => {
                    self.held = Some(Ok(text));
                    break;
                }
                Some(Ok(text)) => part.text.push_str(&text),
                Some(Err(refusal)) => part.refused.push(refusal(self.next_line)),
            }
            part.text.push('\n');
            self.next_line += 1;
        }
        Ok((self.next_line > part.first_line).then_some(part))
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let most = LINE_BYTES as u64 + 1;
        self.read += (&mut self.reader)
            .take(most)
            .read_until(b'\n', &mut bytes)? as u64;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.pop_if(|last| *last == b'\n').is_none() && bytes.len() > LINE_BYTES {
            self.read += self.reader.skip_until(b'\n')? as u64;
            return Ok(Some(Err(Refusal::too_long)));
        }
        let text = String::from_utf8(bytes);
        Ok(Some(text.map_err(|_| {
            let refusal: fn(u64) -> Refusal = |line| Refusal::of_line(line, "is not UTF-8");
            refusal
        })))
    }
}

/// The addresses and names of a file so far, as hashes: a dry run must find those that come twice without keeping
/// them all. Two that differ have the same with a chance of one in millions, for a million lines.
#[derive(Default)]
struct Seen {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl Seen {
    /// Refuses lines of `batch` that have what a line before has, and no other refusal.
    fn refuse(&mut self, batch: &Batch, refused: &[Refusal]) -> Vec<Refusal> {
        let refused: HashSet<u64> = refused.iter().map(|refusal| refusal.line).collect();
        let mut twice = Vec::new();
        for (line, text) in (batch.first_line..).zip(batch.lines.lines()) {
            if refused.contains(&line) {
                continue;
            }
            // A blank line is none.
            let Ok(account) = serde_json::from_str::<PortableAccount>(text) else {
                continue;
            };
            let email = self.hasher.hash_one(("email", key(account.email.trim())));
            let name = account.username.as_deref().map(key);
            let name = name.map(|name| self.hasher.hash_one(("username", name)));
            if self.hashes.contains(&email) {
                twice.push(Refusal::taken(line, "email"));
            } else if name.is_some_and(|name| self.hashes.contains(&name)) {
                twice.push(Refusal::taken(line, "username"));
            } else {
                self.hashes.insert(email);
                self.hashes.extend(name);
            }
        }
        twice
    }
}

pub(super) async fn export(auth: &Endpoint, file: Option<&Path>) -> anyhow::Result<()> {
    let out: Box<dyn Write> = match file {
        // The hashes are for nobody else.
        Some(path) => Box::new(
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("could not make {}", path.display()))?,
        ),
        None => Box::new(io::stdout()),
    };
    let mut out = BufWriter::new(out);
    let (mut after, mut count) = (0, 0_u64);
    loop {
        let part = auth.get(&path(&format!("/export?after={after}"))).await;
        let part: Exported = match part {
            Ok(part) => part,
            Err(error) => bail!("{error:#}; only {count} accounts were written"),
        };
        for account in &part.accounts {
            serde_json::to_writer(&mut out, account).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            count += 1;
        }
        let Some(last) = part.next else { break };
        after = last;
    }
    out.flush()?;
    eprintln!("{count} accounts were written, with the hashes of their passwords");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(bytes: Vec<u8>) -> Source {
        Source::over(Box::new(io::Cursor::new(bytes)), None)
    }

    #[test]
    fn lines_keep_their_numbers_whatever_they_are() {
        let long = "x".repeat(LINE_BYTES);
        let text = [
            b"{\"a\":1}\r\n\n\xff\xfe\n".as_slice(),
            long.as_bytes(),
            b"\n",
            long.as_bytes(),
            b"y\n",
            long.repeat(20).as_bytes(),
            b"\nlast",
        ]
        .concat();
        let length = text.len() as u64;
        let mut source = source(text);
        let part = source.part().unwrap().unwrap();
        assert_eq!(part.first_line, 1);
        assert_eq!(part.text, format!("{{\"a\":1}}\r\n\n\n{long}\n\n\nlast\n"));
        let reasons = [
            (3, "is not UTF-8".to_owned()),
            (5, format!("is longer than {LINE_BYTES} bytes")),
            (6, format!("is longer than {LINE_BYTES} bytes")),
        ];
        let refused = part.refused.iter();
        let refused: Vec<_> = refused
            .map(|refusal| (refusal.line, refusal.reason.clone()))
            .collect();
        assert_eq!(refused, reasons);
        assert!(source.part().unwrap().is_none());
        assert_eq!((source.read, source.next_line), (length, 8));
    }

    #[test]
    fn a_part_has_as_many_lines_and_bytes_as_a_batch_may_have() {
        let mut many = source("\n".repeat(BATCH_LINES + 1).into_bytes());
        for (first, lines) in [(1, BATCH_LINES), (BATCH_LINES as u64 + 1, 1)] {
            let part = many.part().unwrap().unwrap();
            assert_eq!((part.first_line, part.text.len()), (first, lines));
        }
        assert!(many.part().unwrap().is_none());

        // A line and its end are an eighth of what fits.
        let line = "x".repeat(BATCH_BYTES / 8 - 1) + "\n";
        let mut long = source(line.repeat(9).into_bytes());
        for (first, lines) in [(1, 8), (9, 1)] {
            let part = long.part().unwrap().unwrap();
            assert_eq!(part.first_line, first);
            assert_eq!(part.text, line.repeat(lines));
        }
        assert!(long.part().unwrap().is_none());
    }
}
