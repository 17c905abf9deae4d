//! The hashes of passwords that accounts may bring along: bcrypt, and argon2id as a PHC string. What a check of
//! one costs is bounded, so that logging in to such an account can't stop the others.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Params, Version};
use bcrypt::HashParts;

/// The rounds of bcrypt, as powers of two: 14 are about a second.
pub const BCRYPT_COST: std::ops::RangeInclusive<u32> = 4..=14;
/// The most memory that argon2id may fill, in KiB.
pub const ARGON2_MEMORY_KIB: u32 = 128 << 10;
/// The most memory times passes, in KiB: about half a second.
pub const ARGON2_WORK_KIB: u64 = 512 << 10;
/// The most lanes of argon2id.
pub const ARGON2_LANES: u32 = 16;
/// The least bytes of the output: of fewer many passwords have the same.
const OUTPUT_BYTES: usize = 16;
/// The longest PHC string.
const LONGEST: usize = 512;

/// True if `stored` is one of bcrypt's own: `$2a$`, `$2b$` or `$2y$`. They differ in name only, since each is checked
/// as the mended ones are.
pub fn is_bcrypt(stored: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| stored.starts_with(prefix))
}

/// Checks whether passwords may be held against `hash`.
///
/// # Errors
/// Says why not, without the hash.
pub fn check(hash: &str) -> Result<(), String> {
    if is_bcrypt(hash) {
        return check_bcrypt(hash);
    }
    if !hash.starts_with("$argon2id$") || hash.len() > LONGEST {
        return Err("is neither a bcrypt hash ($2a$, $2b$, $2y$) nor one of argon2id".to_owned());
    }
    check_argon2id(hash).ok_or("is no argon2id hash of version 19 as a PHC string")?
}

fn check_bcrypt(hash: &str) -> Result<(), String> {
    let parts: HashParts = hash.parse().map_err(|_| "is no whole bcrypt hash")?;
    if BCRYPT_COST.contains(&parts.get_cost()) {
        return Ok(());
    }
    let (least, most) = (BCRYPT_COST.start(), BCRYPT_COST.end());
    Err(format!("must have a bcrypt cost of {least} to {most}"))
}

/// `None` when it can't be read.
fn check_argon2id(hash: &str) -> Option<Result<(), String>> {
    let hash = PasswordHash::new(hash).ok()?;
    let (_salt, output) = (hash.salt?, hash.hash?);
    let params = Params::try_from(&hash).ok()?;
    let is_known = Algorithm::try_from(hash.algorithm.as_str()) == Ok(Algorithm::Argon2id)
        && hash.version.map(Version::try_from)? == Ok(Version::V0x13)
        && params.keyid().is_empty()
        && params.data().is_empty()
        && output.len() >= OUTPUT_BYTES;
    if !is_known {
        return None;
    }
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if params.m_cost() > ARGON2_MEMORY_KIB || work > ARGON2_WORK_KIB {
        return Some(Err(format!(
            "must cost at most {ARGON2_MEMORY_KIB} KiB of memory (m), and {ARGON2_WORK_KIB} KiB times passes (m * t)"
        )));
    }
    if params.p_cost() > ARGON2_LANES {
        return Some(Err(format!("must have at most {ARGON2_LANES} lanes (p)")));
    }
    Some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: &str = "$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

    fn argon2id(parameters: &str) -> String {
        format!("$argon2id$v=19${parameters}{ENDS}")
    }

    #[test]
    fn usual_hashes_are_taken() {
        for hash in [
            "$2a$04$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CFy",
            "$2b$12$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CFy",
            "$2y$14$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CFy",
            // OWASP's, libsodium's, PHP's, argon2-cffi's, and the most.
            &argon2id("m=19456,t=2,p=1"),
            &argon2id("m=65536,t=2,p=1"),
            &argon2id("m=65536,t=4,p=1"),
            &argon2id("m=65536,t=3,p=4"),
            &argon2id("m=131072,t=4,p=16"),
        ] {
            assert_eq!(check(hash), Ok(()), "{hash}");
        }
    }

    #[test]
    fn what_would_cost_too_much_is_refused() {
        for (hash, why) in [
            (
                "$2b$15$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CFy",
                "cost of 4 to 14",
            ),
            (
                "$2b$03$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CFy",
                "cost of 4 to 14",
            ),
            (&*argon2id("m=131073,t=1,p=1"), "131072 KiB"),
            (&argon2id("m=4294967295,t=4294967295,p=1"), "131072 KiB"),
            (&argon2id("m=131072,t=5,p=1"), "524288 KiB"),
            (&argon2id("m=8,t=65537,p=1"), "524288 KiB"),
            (&argon2id("m=65536,t=1,p=17"), "16 lanes"),
        ] {
            let refused = check(hash).unwrap_err();
            assert!(refused.contains(why), "{hash}: {refused}");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_without_being_repeated() {
        for hash in [
            "",
            "secret",
            "$1$salt$secret",
            "$2x$04$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CFy",
            "$2$04$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CFy",
            "$2b$secret",
            "$2b$+4$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CF",
            "$2b$04$nRwEHKsFZCJ1zGcJ0FNaFukNosHoR3ph8U4Feowo34H8DrIbg0CFü",
            "$argon2id$secret",
            "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
            "$argon2id$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
            "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
            "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ",
            &argon2id("m=7,t=1,p=1"),
            &argon2id("m=64,t=0,p=1"),
            &argon2id("m=64,t=1,p=0"),
            &argon2id("m=64,t=1,p=1,data=c2VjcmV0"),
            &argon2id(&format!("m=64,t=1,p=1{}", ",x=1".repeat(200))),
        ] {
            let refused = check(hash).unwrap_err();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
