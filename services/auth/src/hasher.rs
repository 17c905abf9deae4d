//! One thread's argon2id, with the memory it fills; and bcrypt, for accounts that came from elsewhere.
//!
//! The memory is taken once and kept. An allocator that is handed 19 MiB back after each password
//! may neither return it to the system nor find it again. Then a few logins would cost hundreds of
//! megabytes for good.

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::password_hash::{Error, try_generate_salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::imported_hash::is_bcrypt;
use crate::passwords::{Checked, Cost, PasswordError};

/// Hashes and checks, one password at a time.
pub(crate) struct Hasher {
    params: Params,
    /// Empty until the first password: a server nobody logs in to does without.
    memory: Vec<Block>,
}

impl Hasher {
    /// A hasher at `cost`.
    ///
    /// # Errors
    /// When argon2 refuses `cost`.
    pub fn new(cost: Cost) -> Result<Self, PasswordError> {
        Ok(Self {
            params: Params::new(cost.memory_kib, cost.passes, cost.lanes, None)?,
            memory: Vec::new(),
        })
    }

    /// The PHC string to store for `password`.
    ///
    /// # Errors
    /// When the system gives no salt.
    pub fn hash(&mut self, password: &str) -> Result<String, PasswordError> {
        let salt = salt()?;
        let params = self.params.clone();
        let output = self.fill(
            Algorithm::Argon2id,
            Version::V0x13,
            &params,
            &salt,
            password,
        )?;
        phc(&params, salt, output)
    }

    /// Checks whether `password` is the one of `stored`. The hash's own parameters are used, so that older
    /// hashes stay valid when the cost is raised. One that is not made as ours are is made anew.
    ///
    /// # Errors
    /// When `stored` can't be read.
    pub fn check(&mut self, password: &str, stored: &str) -> Result<Checked, PasswordError> {
        let (is_right, is_ours) = if is_bcrypt(stored) {
            (verify_bcrypt(password, stored)?, false)
        } else {
            self.verify_argon2(password, stored)?
        };
        Ok(match (is_right, is_ours) {
            (false, _) => Checked::Wrong,
            (true, true) => Checked::Right,
            (true, false) => Checked::Outdated(self.hash(password)?),
        })
    }

    /// Whether the password is right, and whether the hash is as ours are.
    fn verify_argon2(
        &mut self,
        password: &str,
        stored: &str,
    ) -> Result<(bool, bool), PasswordError> {
        let stored = PasswordHash::new(stored).map_err(Error::from)?;
        let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else {
            return Err(PasswordError::Hash("it has no salt or no output".into()));
        };
        let algorithm = Algorithm::try_from(stored.algorithm.as_str())?;
        let version = stored.version.map(Version::try_from).transpose()?;
        let params = Params::try_from(&stored)?;
        let version = version.unwrap_or_default();
        let output = self.fill(algorithm, version, &params, &salt, password)?;
        let cost = |of: &Params| (of.m_cost(), of.t_cost(), of.p_cost());
        let is_ours = algorithm == Algorithm::Argon2id
            && version == Version::V0x13
            && cost(&params) == cost(&self.params)
            && params.output_len() == Some(Params::DEFAULT_OUTPUT_LEN);
        // `Output` compares in constant time.
        Ok((output == expected, is_ours))
    }

    /// A hash that no password has: checking against it is as much work as against any other.
    ///
    /// # Errors
    /// When the system gives no salt.
    pub fn nobodys(&self) -> Result<String, PasswordError> {
        // A random output. Two salts have as many bytes as one.
        let output = Output::new(&[salt()?.as_ref(), salt()?.as_ref()].concat());
        phc(&self.params, salt()?, output.map_err(Error::from)?)
    }

    fn fill(
        &mut self,
        algorithm: Algorithm,
        version: Version,
        params: &Params,
        salt: &[u8],
        password: &str,
    ) -> Result<Output, PasswordError> {
        let blocks = params.block_count();
        if self.memory.len() < blocks {
            // Freed first: nothing in it is needed any more.
            self.memory = Vec::new();
            self.memory.resize(blocks, Block::new());
        }
        let mut output = [0; Output::MAX_LENGTH];
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let output = output.get_mut(..length).ok_or(Error::OutputSize)?;
        let filled = Argon2::new(algorithm, version, params.clone())
            .hash_password_into_with_memory(
                password.as_bytes(),
                salt,
                output,
                &mut self.memory[..blocks],
            );
        if blocks > self.params.block_count() {
            // A hash that was imported: the next one of its kind may never come.
            self.memory = Vec::new();
        }
        filled?;
        Ok(Output::new(output).map_err(Error::from)?)
    }
}

/// Only the first 72 bytes count, as where such a hash comes from.
fn verify_bcrypt(password: &str, stored: &str) -> Result<bool, PasswordError> {
    // It compares in constant time.
    bcrypt::verify(password, stored).map_err(|error| PasswordError::Hash(error.to_string()))
}

fn salt() -> Result<Salt, PasswordError> {
    let bytes = try_generate_salt().map_err(|error| PasswordError::Hash(error.to_string()))?;
    Ok(Salt::new(&bytes).map_err(Error::from)?)
}

fn phc(params: &Params, salt: Salt, output: Output) -> Result<String, PasswordError> {
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: params.try_into()?,
        salt: Some(salt),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{PasswordHasher, PasswordVerifier};

    #[test]
    fn it_agrees_with_argon2s_own_hashes_at_any_cost_whatever_was_hashed_before() {
        let mut ours = Hasher::new(Cost {
            memory_kib: 64,
            passes: 2,
            lanes: 1,
        })
        .unwrap();
        // Smaller and larger than its own, so that the memory is longer than needed and has to grow.
        for (memory, passes, lanes, length) in [
            (8, 1, 1, None),
            (1024, 3, 2, Some(16)),
            (64, 1, 4, Some(64)),
            (8, 2, 1, None),
        ] {
            let params = Params::new(memory, passes, lanes, length).unwrap();
            for algorithm in [Algorithm::Argon2id, Algorithm::Argon2i] {
                let theirs = Argon2::new(algorithm, Version::V0x13, params.clone());
                let stored = theirs.hash_password(b"correct horse").unwrap().to_string();
                let right = ours.check("correct horse", &stored).unwrap();
                let Checked::Outdated(renewed) = right else {
                    panic!("{stored} is not as ours: {right:?}");
                };
                assert_eq!(
                    ours.check("correct horse", &renewed).unwrap(),
                    Checked::Right
                );
                let wrong = ours.check("correct horsf", &stored).unwrap();
                assert_eq!(wrong, Checked::Wrong, "{stored}");
                assert!(ours.memory.len() <= 64, "more is given back");
            }
            let stored = ours.hash("battery staple").unwrap();
            let parsed = PasswordHash::new(&stored).unwrap();
            let theirs = Argon2::default();
            assert_eq!(theirs.verify_password(b"battery staple", &parsed), Ok(()));
            assert!(theirs.verify_password(b"battery stapl", &parsed).is_err());
        }
    }

    #[test]
    fn bcrypt_is_checked_whatever_its_prefix_and_made_anew() {
        let mut hasher = Hasher::new(Cost {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        })
        .unwrap();
        let theirs = [
            (
                "heron on the pier",
                "$2a$06$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CFy",
            ),
            (
                "Möwe",
                "$2y$07$EaDPjzQNlVLWtKGFY90m5umlvuWMQTIveJUFvj0Kvc/SVY3G4Qp8O",
            ),
            (
                "swift & swallow",
                "$2b$05$skdVdIk9p3iHNzTpR8zDHe6RipdWVDulDtlAtNEmqlgSF6BJOIsge",
            ),
        ];
        for (password, stored) in theirs {
            let right = hasher.check(password, stored).unwrap();
            let Checked::Outdated(renewed) = right else {
                panic!("{stored}: {right:?}");
            };
            assert!(renewed.starts_with("$argon2id$"), "{renewed}");
            assert_eq!(hasher.check(password, &renewed).unwrap(), Checked::Right);
            let wrong = hasher.check(&format!("{password}."), stored).unwrap();
            assert_eq!(wrong, Checked::Wrong, "{stored}");
        }
    }

    #[test]
    fn of_bcrypt_the_first_72_bytes_count_and_of_what_replaces_it_all() {
        let mut hasher = Hasher::new(Cost {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        })
        .unwrap();
        let first = "x".repeat(72);
        let stored = bcrypt::hash(format!("{first} and more"), 4).unwrap();
        let wrong = hasher.check(&first[1..], &stored).unwrap();
        assert_eq!(wrong, Checked::Wrong);
        let Checked::Outdated(renewed) = hasher.check(&format!("{first}!"), &stored).unwrap()
        else {
            panic!("the first 72 bytes are right");
        };
        let right = hasher.check(&format!("{first}!"), &renewed).unwrap();
        assert_eq!(right, Checked::Right);
        let wrong = hasher.check(&format!("{first}?"), &renewed).unwrap();
        assert_eq!(wrong, Checked::Wrong);
    }

    #[test]
    fn what_is_no_hash_is_an_error_and_not_a_wrong_password() {
        let mut hasher = Hasher::new(Cost::default()).unwrap();
        for broken in [
            "",
            "plain text",
            "$argon2id$broken",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
            "$argon2id$v=18$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            "$md5$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            "$2a$06$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph",
            "$2b$ü6$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CF",
        ] {
            assert!(
                matches!(hasher.check("p", broken), Err(PasswordError::Hash(_))),
                "{broken}"
            );
        }
        assert!(hasher.memory.is_empty(), "nothing was worth it");
    }
}
