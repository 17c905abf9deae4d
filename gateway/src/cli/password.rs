//! The password of an account to be opened.

use std::io::{self, IsTerminal, Read};

use anyhow::{Context, bail};

/// More than a password can have.
const LONGEST: u64 = 4096;

/// It is typed twice without echo, or all of standard input.
pub(super) fn read(from_stdin: bool) -> anyhow::Result<String> {
    if from_stdin {
        let mut text = String::new();
        io::stdin()
            .take(LONGEST)
            .read_to_string(&mut text)
            .context("could not read the password from standard input")?;
        // `echo` adds a line break that nobody means.
        return Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned());
    }
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the password: pipe it in with --password-stdin");
    }
    let first = rpassword::prompt_password("Password: ").context("could not read the password")?;
    let again = rpassword::prompt_password("Again: ").context("could not read the password")?;
    if first != again {
        bail!("the two passwords differ");
    }
    Ok(first)
}
